"""mAP against removal rate."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from labelattack.benchmark.boards.keys import RowKey
from labelattack.benchmark.store.record import Record, points
from labelattack.metrics.statistics import estimate
from labelattack.registry.spec import Spec


class Curve(BaseModel):
    """How a defense's mAP falls as one kind of attack removes more.

    Attributes:
        attack: The attack's spec without its rate.
        defense: Resolved spec.
        variant: What else tells it from other curves of a mixed board; empty otherwise.
        rates: Rates that were run, ascending.
        maps: Test mAP at each, in points, mean over seeds.
        intervals: Half-widths of their 95 % Student-t intervals; None below two seeds.
        area: Area under mAP divided by the reference's, from rate 0 (the reference itself) to the
            largest rate, divided by that rate: 1 means that nothing was lost. Mean over the seeds
            that have every rate; None without a reference.
        area_interval: Half-width of its interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    defense: str
    variant: str = ""
    rates: list[float]
    maps: list[float]
    intervals: list[float | None]
    area: float | None
    area_interval: float | None

    @property
    def falls(self) -> bool:
        """Whether mean mAP is lower at every larger rate."""
        return all(after < before for before, after in pairwise(self.maps))


def _curves(
    selected: dict[RowKey, dict[int, Record]], references: dict[str, dict[int, Record]]
) -> list[Curve]:
    families: dict[RowKey, dict[float, dict[int, float]]] = defaultdict(dict)
    for key, chosen in selected.items():
        spec = Spec.parse(key.attack)
        params = dict(spec.params)
        told = {r.removal.requested_rate for r in chosen.values() if r.removal is not None}
        if "rate" in params and len(told) == 1 and (rate := told.pop()) is not None:
            del params["rate"]
            family = key._replace(attack=str(Spec.of(spec.name, params)))
            families[family][rate] = {seed: points(record) for seed, record in chosen.items()}
    curves = []
    for key, by_rate in sorted(families.items()):
        rates, reference = sorted(by_rate), references.get(key.variant, {})
        estimates = [estimate(list(by_rate[rate].values())) for rate in rates]
        whole = set.intersection(*(set(maps) for maps in by_rate.values())) & set(reference)
        area = estimate([_area(rates, by_rate, s, points(reference[s])) for s in sorted(whole)])
        curves.append(
            Curve(
                attack=key.attack,
                defense=key.defense,
                variant=key.variant,
                rates=rates,
                maps=[e.mean for e in estimates],
                intervals=[e.half_width for e in estimates],
                area=area.mean if area.seeds and max(rates) > 0 else None,
                area_interval=area.half_width,
            )
        )
    return curves


def _area(
    rates: list[float], by_rate: dict[float, dict[int, float]], seed: int, clean: float
) -> float:
    """Trapezoids under mAP relative to the reference, which stands at rate 0."""
    at = [0.0, *(rate for rate in rates if rate > 0)]
    relative = [1.0, *(by_rate[rate][seed] / clean for rate in at[1:])]
    steps = zip(pairwise(at), pairwise(relative), strict=True)
    area = sum((high - low) * (left + right) / 2 for (low, high), (left, right) in steps)
    return area / at[-1] if at[-1] else float("nan")
