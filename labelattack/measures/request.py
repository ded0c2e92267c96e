"""Measures requested of every run, and how they are written: ``d-score:grid=4``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from labelattack.errors import ParameterError, PluginError, unknown
from labelattack.measures import registry
from labelattack.measures.base import Derived, Measure
from labelattack.measures.outcome import MAP, Metric, Outcome
from labelattack.registry.parameters import broken_rule
from labelattack.registry.spec import Spec

if TYPE_CHECKING:
    from labelattack.measures.d_score import DScoreSettings

D_SCORE = "d-score"


@dataclass(frozen=True)
class MeasureRequest:
    """Measures requested of every finished run; it pickles, whatever defines them.

    Attributes:
        specs: Resolved spec of each measure.
        resamples: Resamples of the test images for the interval of one run's mAP; 0 for none.
    """

    specs: tuple[str, ...] = ()
    resamples: int = 0

    @classmethod
    def of(cls, *measures: Measure, resamples: int = 0) -> MeasureRequest:
        """A request of measures.

        Raises:
            ParameterError: If one is requested twice.
        """
        names = [registry.name_of(type(measure)) for measure in measures]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(f"measures must name {name} once, got it twice")
        specs = (
            str(Spec.of(name, measure.resolved().model_dump(mode="json")))
            for name, measure in zip(names, measures, strict=True)
        )
        return cls(tuple(sorted(specs)), resamples)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The measures by name."""
        return {Spec.parse(spec).name: create(spec) for spec in self.specs}

    def lacking(self, outcomes: Mapping[str, Outcome], resamples: int) -> MeasureRequest:
        """Requested measures that a run lacks, or has by other settings or another version.

        Args:
            outcomes: Outcomes of the run.
            resamples: Resamples that the interval of its mAP has.
        """
        there = {
            name
            for name, measure in self.measures.items()
            if name in outcomes and measure.is_outcome(outcomes[name])
        }
        return MeasureRequest(
            tuple(spec for spec in self.specs if Spec.parse(spec).name not in there),
            0 if resamples == self.resamples else self.resamples,
        )

    def of_every_run(self) -> MeasureRequest:
        """Without the measures that are taken of selected runs only."""
        kept = (s for s in self.specs if self.measures[Spec.parse(s).name].on == "every run")
        return replace(self, specs=tuple(kept))


NOTHING = MeasureRequest()


def read_request(
    specs: Iterable[str], *, d_score: str = "none", resamples: int = 0
) -> MeasureRequest:
    """Reads what ``--measures``, ``--robustness``, ``--d-score`` and ``--bootstrap`` take.

    Args:
        specs: Specs, several in one text separated by commas:
            ``evasion:eps=2/255,steps=10,corruption``.
        d_score: Short form of the D-Score: ``default``, ``none``, or settings, ``grid=4,zoom=2``;
            ``default`` gives way to a D-Score among the specs.
        resamples: Resamples of the test images for the interval of one run's mAP.

    Raises:
        UnknownNameError: If there is no such measure or setting.
        ParameterError: If one is named twice, or a value breaks its rule.
        PluginError: If two measures, requested or not, have a metric of one name.
    """
    known_measures()  # boards would refuse only after all runs
    specs = list(specs)
    for spec in specs:
        if not isinstance(spec, str):
            raise ParameterError(
                f"measures must be specs such as 'calibration:bins=10', got a {type(spec).__name__}"
            )
    # A comma before a name parts specs, one before name=value parts settings.
    items = [item for text in specs for item in re.split(r",(?=[\w-]+(?:[:,]|$))", text)]
    named = [Spec.parse(item).name for item in items]
    measures = [create(item) for item in items]
    if d_score != "none" and not (d_score == "default" and D_SCORE in named):
        measures.insert(0, d_score_of(d_score))
    return MeasureRequest.of(*measures, resamples=resamples)


def d_score_of(text: str) -> DScoreSettings:
    """Reads what ``--d-score`` takes, except ``none``.

    Raises:
        UnknownNameError: If a setting is unknown.
        ParameterError: If a value breaks its rule.
    """
    from labelattack.measures.d_score import DScoreSettings

    if text == "default":
        return DScoreSettings().resolved()
    if "=" not in text:
        raise ParameterError(f"--d-score must be default, none, or key=value,..., got '{text}'")
    given = Spec.parse(f"{D_SCORE}:{text}")
    settings = measure_named(D_SCORE).model_fields
    for name, _ in given.params:
        if name not in settings:
            raise unknown("setting of --d-score:", name, settings)
    try:
        return DScoreSettings.model_validate(dict(given.params)).resolved()
    except ValidationError as error:
        first = error.errors()[0]
        raise ParameterError(f"{first['loc'][0]} {broken_rule(first)}") from None


def create(spec: str | Spec) -> Measure:
    """The measure of a spec.

    Raises:
        UnknownNameError: If there is no such measure or setting.
        ParameterError: If a value breaks its rule.
    """
    measure_named(Spec.parse(str(spec)).name)
    return cast(Measure, registry.create(spec))


def metrics() -> dict[str, Metric]:
    """Every metric by its name, mAP first."""
    return {name: metric for name, (metric, _) in _by_metric().items()}


def metric_named(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UnknownNameError: If no measure has it.
    """
    return _with_measure(name)[0]


def measure_of(metric: str) -> str:
    """Name of the measure that has a metric; empty for mAP.

    Raises:
        UnknownNameError: If none has it.
    """
    return _with_measure(metric)[1]


def measure_named(name: str) -> type[Measure]:
    """Class of a measure that is taken of runs.

    Raises:
        UnknownNameError: If there is none of that name.
        PluginError: If the plug-in that declares it cannot be imported.
    """
    cls = registry.get(name) if name in registry.names() else None
    if cls is None or not issubclass(cls, Measure):
        raise unknown("measure", name, taken_measures())
    return cls


def taken_measures() -> dict[str, type[Measure]]:
    """Measures that are taken of runs, by name, in the order of boards."""
    return {name: cls for name, cls in known_measures().items() if issubclass(cls, Measure)}


def derived_measures() -> dict[str, type[Derived]]:
    """Measures that are derived from the runs of a board, by name."""
    return {name: cls for name, cls in known_measures().items() if issubclass(cls, Derived)}


# The order in which boards have always had them; others follow by name.
_FIRST = (D_SCORE, "evasion", "corruption")


def place_of(name: str) -> tuple[int, str]:
    """Key that sorts names of measures as boards have them."""
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST)), name


def known_measures() -> dict[str, type[Measure] | type[Derived]]:
    """Every measure by name, in the order of boards.

    Raises:
        PluginError: If two have a metric of one name.
    """
    names = (name for name in registry.names() if registry.is_known(name))
    known = {name: registry.get(name) for name in sorted(names, key=place_of)}
    owners = {MAP.name: "the test scores"}
    for name, cls in known.items():
        for metric in getattr(cls, "metrics", ()):
            owner = owners.setdefault(metric.name, f"measure '{name}'")
            if owner != f"measure '{name}'":
                raise PluginError(
                    f"measure '{name}' must have metrics of other names than {owner}, got "
                    f"'{metric.name}'"
                )
    return known


def _with_measure(metric: str) -> tuple[Metric, str]:
    known = _by_metric()
    if metric not in known:
        raise unknown("measure", metric, known)
    return known[metric]


def _by_metric() -> dict[str, tuple[Metric, str]]:
    taken = taken_measures()
    owned = {metric.name: (metric, name) for name in taken for metric in taken[name].metrics}
    return {MAP.name: (MAP, "")} | owned
