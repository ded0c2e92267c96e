"""Datasets and models, loaded once a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from torch import Tensor, nn

from labelattack.attacks import registry as attacks
from labelattack.attacks.base import Attack
from labelattack.attacks.budget import Attacked, Budget, at_budget
from labelattack.attacks.knowledge import NOTHING, Knowledge
from labelattack.benchmark.plan.cell import Cell
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Splits
from labelattack.datasets.limit import limited
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import Task
from labelattack.errors import LabelAttackError, ModelError, PluginError, StoreError
from labelattack.labels import PartialLabels
from labelattack.measures.run import Setup, TrainedRun
from labelattack.models import registry as models
from labelattack.process_cache import ProcessCache, on_forget
from labelattack.registry.spec import Spec
from labelattack.seeding import stream_seed
from labelattack.training.compute import Compute
from labelattack.training.feature_cache import frozen_network
from labelattack.training.loop import Scores
from labelattack.training.protocols import registry as protocols
from labelattack.training.protocols.base import Prepared
from labelattack.training.validation import ValidationLabels, validation_labels


@lru_cache(maxsize=1)
def load(dataset: str, limit: int | None = None) -> Splits:
    """Loads a dataset, keeping the last one.

    Args:
        dataset: Resolved spec.
        limit: Most images of each split; None for all.

    Raises:
        LabelAttackError: If it cannot be had.
    """
    try:
        splits = datasets.create(dataset).load()
        return splits if limit is None else limited(splits, limit)
    except (LabelAttackError, OSError, MemoryError):
        raise
    except Exception as error:
        if datasets.is_builtin(dataset):
            raise
        raise PluginError(
            f"dataset '{dataset}' failed to load: {type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=1)
def prepared(
    dataset: str, model: Spec, protocol: str, device: str, limit: int | None = None
) -> Prepared:
    """Readies a dataset and a model for training under a protocol, keeping the last pair."""
    return protocols.create(protocol).prepare(load(dataset, limit), model, Compute(device))


def data_of(cell: Cell) -> Splits:
    """The dataset of a cell, with as many images as it uses.

    Raises:
        LabelAttackError: If it cannot be had.
    """
    return load(cell.dataset, cell.limit)


for _cached in (load, prepared, frozen_network):
    on_forget(_cached.cache_clear)


_ATTACKED: ProcessCache[Attacked] = ProcessCache(256)
_VALIDATION: ProcessCache[ValidationLabels] = ProcessCache(256)


def attacked_labels(cell: Cell, compute: Compute) -> Attacked:
    """The training labels that the attack of a cell leaves, and the attack as its budget sets it.

    Where it takes longer than reading them, they are kept: other defenses train on the same.
    """
    attack = attacks.create(cell.attack)
    if not attack.needs and cell.budget is None:
        return Attacked(attack, attack(data_of(cell).train.partial, seed=cell.seed))

    def attacked() -> Attacked:
        labels, known = data_of(cell).train.partial, _knowledge(cell, "train", compute)
        if cell.budget is None:
            return Attacked(attack, attack(labels, seed=cell.seed, knowledge=known))
        budget = Budget.parse(cell.budget)
        return at_budget(attack, budget, labels, seed=cell.seed, knowledge=known)

    return _ATTACKED.get(_attack_key(cell), attacked)


def attacked_validation(cell: Cell, attack: Attack, compute: Compute) -> ValidationLabels:
    """Validation labels that selection of a cell may see, under its attack at its budget."""
    val = data_of(cell).val
    known = _knowledge(cell, "val", compute)

    def labels() -> ValidationLabels:
        return validation_labels(attack, val, cell.selection, seed=cell.seed, knowledge=known)

    key = *_attack_key(cell), cell.selection
    return _VALIDATION.get(key, labels) if attack.needs else labels()


def _knowledge(cell: Cell, part: str, compute: Compute) -> Knowledge:
    if not attacks.get(Spec.parse(cell.attack).name).needs:
        return NOTHING
    from labelattack.training.surrogate import knowledge_of

    return knowledge_of(data_of(cell), part, models.resolve(cell.model), compute)


def _attack_key(cell: Cell) -> tuple[object, ...]:
    asked = cell.attack, cell.versions["attack"], cell.budget, cell.seed
    return cell.dataset, cell.fingerprint, cell.model, *asked


def task_of(loss: Spec, splits: Splits, attacked: PartialLabels, *, seed: int) -> Task:
    """All that a loss may know of a run before it starts.

    Args:
        loss: Resolved spec; only an oracle gets the labels from before the attack, and side tables
            are those of the kinds that the loss declares.
        splits: The dataset.
        attacked: Attacked training labels.
        seed: Seed of the run.
    """
    cls = defenses.get(loss.name)
    return Task(
        labels=attacked,
        seed=stream_seed(seed, "loss"),
        expected_positives=splits.expected_positives,
        side=splits.side_tables.only(cls.side_tables),
        known=splits.train.partial if cls.oracle and cls.sees_attack else None,
    )


def setup_of(
    dataset: str, model: str, protocol: str, compute: Compute, limit: int | None = None
) -> Setup:
    """Dataset, model and protocol as measures see them before anything is trained.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: Training protocol.
        compute: Means of computing.
        limit: Most images of each split; None for all.
    """
    return Setup(load(dataset, limit), models.resolve(model), protocol, compute)


def trained_run(
    dataset: str,
    model: str,
    trained: nn.Module,
    compute: Compute,
    *,
    protocol: str,
    limit: int | None = None,
    validation_labels: ValidationLabels | None = None,
    test_scores: Scores | None = None,
    attacked: Callable[[], Attacked] | None = None,
) -> TrainedRun:
    """A trained network as measures see it.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        trained: What the protocol trained.
        compute: Means of computing.
        protocol: Training protocol.
        limit: Most images of each split; None for all.
        validation_labels: Validation labels that selection may see, if they are known.
        test_scores: Logits of the test images, if they are known already.
        attacked: Gives the attack and the training labels that it left, if they are known.
    """
    spec = models.resolve(model)
    return TrainedRun(
        load(dataset, limit),
        spec,
        protocol,
        compute,
        trained=trained,
        prepare=lambda: prepared(dataset, spec, protocol, compute.device, limit),
        validation_labels=validation_labels,
        test_scores=test_scores,
        attacked=attacked,
    )


def rebuild(
    dataset: str,
    model: str,
    protocol: str,
    state: Mapping[str, Tensor],
    limit: int | None = None,
) -> nn.Module:
    """Trained network or head, rebuilt from its weights.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: Training protocol.
        state: Weights as a run left them.
        limit: Most images of each split; None for all.

    Raises:
        StoreError: If the weights do not fit.
    """
    built, labels = models.create(model), len(load(dataset, limit).classes)
    rule = f"weights must fit model '{model}' on '{dataset}'"
    try:
        return protocols.create(protocol).rebuild(built, labels, state, rule=rule)
    except ModelError as error:
        raise StoreError(str(error)) from error
