"""mAP against removal rate."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from pydantic import BaseModel, ConfigDict

from labelattack.benchmark.boards.keys import RowKey
from labelattack.benchmark.store.record import Record, points
from labelattack.measures.label_removal import LabelRemoval
from labelattack.registry.spec import Spec


class Curve(BaseModel):
    """mAP of a defense against the removal rate of one kind of attack.

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


def curves_of(
    selected: dict[RowKey, dict[int, Record]], references: dict[str, dict[int, Record]]
) -> list[Curve]:
    """Curves of a board.

    Args:
        selected: Record of each seed, by row.
        references: Record of each seed of the full-label reference, by variant.
    """
    families: dict[RowKey, dict[float, dict[int, float]]] = defaultdict(dict)
    for key, chosen in selected.items():
        spec = Spec.parse(key.attack)
        params = dict(spec.params)
        requested = {r.removal.requested_rate for r in chosen.values() if r.removal is not None}
        if "rate" in params and len(requested) == 1 and (rate := requested.pop()) is not None:
            del params["rate"]
            family = key._replace(attack=str(Spec.of(spec.name, params)))
            families[family][rate] = {seed: points(record) for seed, record in chosen.items()}
    curves = []
    for key, by_rate in sorted(families.items()):
        reference = references.get(key.variant, {})
        clean = {seed: points(record) for seed, record in reference.items()}
        summary = LabelRemoval.of_family(by_rate, clean)
        curves.append(
            Curve(attack=key.attack, defense=key.defense, variant=key.variant, **dict(summary))
        )
    return curves
