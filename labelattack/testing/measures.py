"""Contract of measures."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from labelattack import measures
from labelattack.labels import BoolArray
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MAP, MeasuredValues
from labelattack.registry.spec import Spec
from labelattack.testing.check import Kind, require

if TYPE_CHECKING:
    from labelattack.datasets.base import Splits
    from labelattack.measures.outcome import Outcome
    from labelattack.measures.run import TrainedRun


@cache
def _splits() -> Splits:
    from labelattack import datasets

    return datasets.create("digits:train=30,val=30,test=30").load()


def _run(measure: Measure, device: str = "cpu") -> TrainedRun:
    """A whole network that was never trained, or an ensemble of such, on a few images."""
    from labelattack import models
    from labelattack.measures.run import TrainedRun
    from labelattack.training import protocols
    from labelattack.training.compute import Compute
    from labelattack.training.validation import ValidationLabels

    splits, spec = _splits(), models.registry.resolve("tiny")
    protocol = "finetune:parts=3" if measure.needs_parts else "finetune"
    trainer, compute = protocols.create(protocol), Compute(device)
    network = trainer.build(models.create(spec), len(splits.classes), seed=0)
    return TrainedRun(
        splits,
        spec,
        protocol,
        compute,
        trained=network.to(compute.torch_device),
        prepare=lambda: trainer.prepare(splits, spec, compute),
        validation_labels=ValidationLabels(splits.val.labels, None, "clean"),
    )


def _taken(spec: str, device: str = "cpu") -> tuple[Measure, Outcome] | None:
    """A measure and its outcome; None for one that is derived from boards."""
    measure = measures.create(spec)
    if not isinstance(measure, Measure):
        return None
    run = _run(measure, device)
    measure.prepare(run)
    return measure, measure.measure(run)


def names_its_metrics(spec: str) -> None:
    """It has metrics, and no other measure has one of their names."""
    own = measures.registry.get(Spec.parse(spec).name)
    names = [metric.name for metric in getattr(own, "metrics", ())]
    require(bool(names), "metrics must declare at least one Metric, got none")
    owners = {MAP.name: "the test scores"}
    for other in filter(measures.registry.is_known, measures.registry.names()):
        if (cls := measures.registry.get(other)) is not own:
            owners |= {m.name: f"measure '{other}'" for m in getattr(cls, "metrics", ())}
    for name in names:
        require(names.count(name) == 1, f"metrics must have different names, got '{name}' twice")
        owner = owners.get(name, "")
        require(not owner, f"metric '{name}' must have a name of its own, got that of {owner}")


def gives_its_metrics(spec: str) -> None:
    """Each metric that it declares is a finite number or None, and there are no others."""
    if (taken := _taken(spec)) is None:
        return
    measure, outcome = taken
    require(
        isinstance(outcome, measure.outcome),
        f"measure must return a {measure.outcome.__name__}, as self.values(...) makes, got a "
        f"{type(outcome).__name__}",
    )
    declared = {metric.name for metric in measure.metrics}
    given = set(outcome.values) if isinstance(outcome, MeasuredValues) else declared
    require(
        given == declared,
        f"values must be given for the metrics {sorted(declared)}, got {sorted(given)}",
    )
    for metric in measure.metrics:
        value = outcome.value(metric.name)
        finite = value is None or (isinstance(value, float) and math.isfinite(value))
        require(finite, f"metric '{metric.name}' must be a finite float or None, got {value}")


def is_deterministic(spec: str) -> None:
    """Measuring twice gives one outcome."""
    first, second = _taken(spec), _taken(spec)
    require(first == second, "must give the same outcome for the same network")


def recognises_its_outcome(spec: str) -> None:
    """An outcome is of the measure that took it, and is read as it was written."""
    if (taken := _taken(spec)) is None:
        return
    measure, outcome = taken
    require(measure.is_outcome(outcome), "must recognise its own outcome")
    again = type(outcome).model_validate_json(outcome.model_dump_json())
    require(again == outcome and again.how() == outcome.how(), "outcome must survive the store")


def computes_on_the_device_of_the_network(spec: str) -> None:
    """On a GPU no tensor is made on the CPU."""
    from labelattack.testing.simulated_device import same_device_required, simulated_device

    if (device := simulated_device()) is None:  # no release of torch that can have one
        return
    with same_device_required():
        found = _taken(spec, str(device))
    require(found == _taken(spec), "must give the same outcome on another device as on the CPU")


def leaves_the_network_as_it_is(spec: str) -> None:
    """Weights, mode and test labels stay."""
    import torch

    measure = measures.create(spec)
    if not isinstance(measure, Measure):
        return
    run = _run(measure)
    before = {name: value.clone() for name, value in run.trained.state_dict().items()}
    labels: BoolArray = run.splits.test.labels.copy()
    measure.measure(run)
    same = all(torch.equal(v, before[name]) for name, v in run.trained.state_dict().items())
    require(same and not run.network.training, "must leave the network as it is")
    require(bool((run.splits.test.labels == labels).all()), "must leave the labels as they are")


KIND = Kind(
    measures.registry,
    (
        names_its_metrics,
        gives_its_metrics,
        is_deterministic,
        recognises_its_outcome,
        computes_on_the_device_of_the_network,
        leaves_the_network_as_it_is,
    ),
)
measure_checks = KIND.checks
