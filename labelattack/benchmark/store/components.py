"""Components that took part in the runs of a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labelattack.benchmark.store.record import Record
from labelattack.measures.d_score import Diagnosis
from labelattack.registry.spec import Spec


def components_of(records: Iterable[Record]) -> dict[str, list[str]]:
    """Names of the components of records by kind, in the plural; each once and sorted."""
    found: dict[str, set[str]] = {}
    for record in records:
        for kind, spec in _specs(record):
            found.setdefault(kind, set()).add(Spec.parse(spec).name)
    return {kind: sorted(names) for kind, names in found.items()}


def _specs(record: Record) -> Iterator[tuple[str, str]]:
    cell = record.cell
    yield "attacks", cell.attack
    yield "defenses", cell.defense
    yield "datasets", cell.dataset
    yield "models", cell.model
    yield "protocols", cell.protocol
    for name, outcome in record.outcomes.items():
        yield "measures", name
        if isinstance(outcome, Diagnosis):
            yield "mutations", outcome.settings.operator
