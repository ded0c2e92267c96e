"""Out-of-fold probabilities of labels, by networks that learn from the labels as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import Split
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import DefenseError, LabelError, ParameterError
from labelattack.labels import PartialLabels
from labelattack.registry.spec import Spec
from labelattack.seeding import stream_seed
from labelattack.training.compute import ONE_CPU, Compute
from labelattack.training.cross_fit import FOLDS, MakeLoss, cross_fit, probabilities

USUAL_DEFENSE = "pseudo-history"


def out_of_fold(
    split: Split,
    defense: str | Spec,
    model: Spec,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    compute: Compute = ONE_CPU,
) -> NDArray[np.float32]:
    """Probability of each label by a network that was trained without the image.

    A network that has seen an image has also learned from the gaps in its labels. See
    [cross_fit][labelattack.training.cross_fit.cross_fit] for protocol and recipe.

    Args:
        split: Images with their labels, as far as they are known.
        defense: Loss that learns from them.
        model: Resolved spec of the model.
        folds: Number of folds, from 2.
        seed: Seed of folds, initialisation, shuffling, and of the loss.
        compute: Where to compute, and who is told.

    Returns:
        float32 ``[images, labels]``, in [0, 1].

    Raises:
        ParameterError: If the loss cannot learn from labels alone, or there are fewer images or
            groups than folds.
        TrainingDivergedError: If a network diverges.
    """
    make_loss = loss_of(split, defense, seed)
    fit = cross_fit(split, model, make_loss, folds=folds, seed=seed, compute=compute)
    return probabilities(fit.scores)


def loss_of(split: Split, defense: str | Spec, seed: int = 0) -> MakeLoss:
    """Function that binds a loss to the labels of some images, checked on those of all.

    Args:
        split: Images with their labels.
        defense: The loss.
        seed: Seed of the run.

    Raises:
        ParameterError: If the loss is an oracle, or needs anything but labels that its parameters
            do not give.
    """
    spec = defenses.resolve(defense)
    rule = f"an audit trains on the labels of users alone, which defense '{spec.name}'"
    if defenses.get(spec.name).oracle:
        raise ParameterError(
            f"{rule} cannot: it is an oracle, made to be told labels that nobody has here; try "
            f"{USUAL_DEFENSE}"
        )

    def bound(labels: PartialLabels, rows: NDArray[np.int64]) -> PartialLabelLoss:
        loss = defenses.create(spec)
        named = labels.named([split.ids[row] for row in rows], labels.classes)
        loss.bind(Task(labels=named, seed=stream_seed(seed, "loss")))
        return loss

    try:
        loss = bound(split.partial, np.arange(len(split)))
    except (DefenseError, LabelError) as error:
        raise ParameterError(f"{rule} cannot: {error}; or try {USUAL_DEFENSE}") from error
    if loss.activation_scale != 1:
        raise ParameterError(
            f"{rule} cannot: it scales activations of the whole network; try {USUAL_DEFENSE}"
        )
    return bound
