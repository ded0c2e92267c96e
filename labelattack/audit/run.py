"""The audit of a label file: from labels and images to the entries to review."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.audit.candidates import candidates_of, most_likely, without
from labelattack.audit.scores import USUAL_DEFENSE, loss_of, out_of_fold
from labelattack.datasets.base import Split
from labelattack.datasets.verification import verify_parts
from labelattack.labels import Encoding
from labelattack.labels.storage import IntArray
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.training.compute import ONE_CPU, Compute
from labelattack.training.cross_fit import FOLDS, fold_of, usual_protocol
from labelattack.training.protocols import registry as protocols


class Finding(NamedTuple):
    """An entry that may be a missed positive.

    Attributes:
        rank: From 1, the most likely first.
        image: Name of the image.
        label: Name of the class.
        score: Out-of-fold probability, in [0, 1].
        status: ``hidden`` or ``negative``, as the file has it.
        row: Position of the image.
    """

    rank: int
    image: str
    label: str
    score: float
    status: str
    row: int


class Audit(NamedTuple):
    """Entries to review, and of how many candidates they are the most likely ones."""

    findings: list[Finding]
    candidates: int


def audit(
    split: Split,
    encoding: Encoding,
    model: str | Spec,
    *,
    defense: str | Spec = USUAL_DEFENSE,
    folds: int = FOLDS,
    seed: int = 0,
    top: int = 1000,
    compute: Compute = ONE_CPU,
) -> Audit:
    """Finds the entries of labels that are most likely missed positives.

    All that can be wrong with the input is found before anything is computed.

    Args:
        split: Images with their labels, which name the classes.
        encoding: Encoding of the label file; see
            [candidates_of][labelattack.audit.candidates.candidates_of].
        model: The model.
        defense: Loss that learns from the labels.
        folds: Number of folds, from 2.
        seed: Seed of folds, initialisation and shuffling.
        top: How many entries at most.
        compute: Where to compute, and who is told.

    Raises:
        LabelError: If there is no candidate, or no positive.
        ParameterError: If the loss needs more than labels, or there are fewer images or groups than
            folds.
        ModelError: If the model cannot be built.
        DatasetError: If an image cannot be read.
    """
    labels, resolved = split.partial, models.resolve(model)
    candidates = candidates_of(labels, encoding)
    train = Split(split.images, without(labels, candidates), split.ids, groups=split.groups)
    train.partial = train.partial.named(split.ids, labels.classes)
    loss_of(train, defense, seed)
    fold_of(len(split), folds, split.groups, seed)
    _check_model(split, resolved, compute)
    scores = out_of_fold(train, defense, resolved, folds=folds, seed=seed, compute=compute)
    entries = most_likely(scores, candidates, top)
    return Audit(_findings(split, scores, *entries), int(candidates.sum()))


def _check_model(split: Split, model: Spec, compute: Compute) -> None:
    """Fails where a model cannot be built, or cannot read the images."""
    built = models.create(model)
    trainer = protocols.create(usual_protocol(model))
    trainer.build(built, split.partial.shape[1], seed=0)
    if built.pretrained:
        built.frozen()  # fails here if the weights cannot be had
    one_size = built.preprocessing.size is None
    verify_parts({"images": split}, one_size=one_size, progress=compute.progress)


def _findings(
    split: Split, scores: NDArray[np.float32], rows: IntArray, columns: IntArray
) -> list[Finding]:
    labels = split.partial
    names = labels.classes or [str(column) for column in range(labels.shape[1])]
    hidden = labels.hidden[rows, columns]
    return [
        Finding(
            rank,
            split.ids[row],
            names[column],
            round(float(scores[row, column]), 6),
            "hidden" if unknown else "negative",
            row,
        )
        for rank, (row, column, unknown) in enumerate(
            zip(rows.tolist(), columns.tolist(), hidden.tolist(), strict=True), 1
        )
    ]
