"""Evaluation of any network on labelled images: mAP, and the measures of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelattack.errors import ParameterError
from labelattack.optional import require

if TYPE_CHECKING:
    from torch import nn

    from labelattack.api.own_run import OwnRun
    from labelattack.attacks.base import Attack
    from labelattack.labels import Encoding, PartialLabels
    from labelattack.measures.base import Measure
    from labelattack.measures.clean_scores import CleanScores
    from labelattack.measures.outcome import Outcome
    from labelattack.models.base import Preprocessing


@dataclass(frozen=True, eq=False)
class Evaluation(Mapping[str, "float | None"]):
    """Metrics of one network by name, ``map`` first; None where undefined.

    mAP and all metrics that boards write in points are in [0, 1] here.

    Attributes:
        scores: mAP, its variants, and the AP of each class.
        outcomes: Outcome of each measure by name, with settings, intervals and details.
    """

    scores: CleanScores
    outcomes: Mapping[str, Outcome]

    def __getitem__(self, metric: str) -> float | None:
        return self._values()[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def interval(self, metric: str) -> tuple[float, float] | None:
        """95 % bootstrap interval of a metric over images; None if there is none."""
        if metric == "map":
            return self.scores.map_interval
        return next((o.interval(metric) for n, o in self._owners() if n == metric), None)

    def to_dataframe(self) -> Any:
        """A pandas data frame with a line a metric: ``metric``, ``value``, ``low``, ``high``.

        Raises:
            LabelAttackError: If pandas is not installed.
        """
        pandas = require("pandas", "dataframe")
        limits = {name: self.interval(name) or (None, None) for name in self}
        rows = [(name, self[name], *limits[name]) for name in self]
        return pandas.DataFrame(rows, columns=["metric", "value", "low", "high"])

    def __repr__(self) -> str:
        told = (f"{name}={'-' if v is None else format(v, '.3f')}" for name, v in self.items())
        return f"Evaluation({', '.join(told)})"

    def _owners(self) -> Iterator[tuple[str, Outcome]]:
        from labelattack.measures.request import measure_named

        for measure, outcome in self.outcomes.items():
            yield from ((metric.name, outcome) for metric in measure_named(measure).metrics)

    def _values(self) -> dict[str, float | None]:
        return {"map": self.scores.map} | {name: o.value(name) for name, o in self._owners()}


def evaluate(
    network: nn.Module,
    test: Any,
    measures: Sequence[str] = (),
    *,
    preprocessing: Preprocessing | str | None = None,
    classes: Sequence[str] | None = None,
    encoding: Encoding = "binary",
    train: Any = None,
    val: Any = None,
    attack: Attack | str | None = None,
    attacked: PartialLabels | None = None,
    seed: int = 0,
    stage: str | None = None,
    bootstrap: int = 0,
    device: str = "auto",
) -> Evaluation:
    """Scores a network that was trained anywhere, as ``labelattack bench`` scores its own.

    The network is left as it is. Images and labels may be

    - a [Split][labelattack.datasets.split.Split], with ``preprocessing``;
    - a pair: images as the network takes them, float ``[images, channels, height, width]``, or
      pixels, a uint8 array ``[images, height, width, 3]`` or tensor ``[images, 3, height, width]``,
      with ``preprocessing``; and labels ``[images, labels]``, an array, a tensor, a data frame or
      partial labels;
    - a dataset or loader of torch that yields such pairs, which is read once and held in memory.

    Args:
        network: Maps a batch of images to logits ``[batch, labels]``, not to probabilities.
        test: Test images and their clean labels.
        measures: Specs of measures, such as ``f1:threshold=half`` and ``calibration:bins=10``.
        preprocessing: How pixels become the network's input; of a registered model by its spec.
        classes: Name of each label; by default ``0``, ``1`` and so on.
        encoding: Encoding of labels that are numbers.
        train: Training images and clean labels, for measures that need them.
        val: Validation images and labels, for measures that choose thresholds.
        attack: Attack on the training labels, for measures of what it did.
        attacked: Labels that it left; by default those that ``attack`` and ``seed`` give.
        seed: Seed of the attack.
        stage: Name of the module that gives the last map before pooling, such as ``layer4``, for
            the D-Score of a network that is no [Network][labelattack.models.base.Network].
        bootstrap: Resamples of the images for an interval of mAP; 0 for none.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Returns:
        Metrics by name.

    Raises:
        UnknownNameError: If a measure or one of its settings is unknown.
        ParameterError: If a measure lacks something; the argument that gives it is named.
        DatasetError: If images or labels are of another kind.
        ModelError: If the network does not give a logit for each label.

    Example:
        >>> import labelattack, torch
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> images, labels = torch.rand(8, 3, 2, 2), torch.arange(16).reshape(8, 2) % 3 == 0
        >>> list(labelattack.evaluate(network, (images, labels), ["calibration"]))
        ['map', 'ece', 'ece_class']
    """
    from labelattack.api.own_data import split_of
    from labelattack.api.own_run import OwnSplits, borrowed, labels_left, own_run
    from labelattack.measures.clean_scores import score
    from labelattack.measures.request import read_request

    request = read_request(measures)
    given = {"test": test, "train": train, "val": val}
    parts = {n: split_of(v, encoding, n) for n, v in given.items() if v is not None}
    splits = OwnSplits(parts, classes)
    with borrowed(network):
        run = own_run(
            network,
            splits,
            preprocessing,
            stage=stage,
            device=device,
            attacked=lambda: labels_left(splits, attack, attacked, seed),
        )
        tested = score(run.scores, splits.test, splits.classes, bootstrap)
        outcomes = {name: _outcome(name, of, run) for name, of in request.measures.items()}
    return Evaluation(tested, outcomes)


def _outcome(name: str, measure: Measure, run: OwnRun) -> Outcome:
    """Outcome of a measure; where something is missing, the error names the measure."""
    from labelattack.api.own_run import Lacking

    try:
        measure.prepare(run)
        return measure.measure(run)
    except Lacking as error:
        raise ParameterError(f"measure '{name}' {error}") from None
