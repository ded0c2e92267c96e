"""A closer look at trained networks, of a store or of a weights file, on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from labelattack.attacks import registry as attacks
from labelattack.benchmark.execution.context import load, rebuild, setup_of, trained_run
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split
from labelattack.defenses import registry as defenses
from labelattack.errors import StoreError
from labelattack.measures._d_score.distributions import AblationLogits
from labelattack.measures._d_score.sensitivity import Scoring, score_network, usual_grids
from labelattack.measures.d_score import DScoreSettings
from labelattack.models import registry as models
from labelattack.models.base import read_weights
from labelattack.training.compute import Compute
from labelattack.training.protocols import protocol_of_state


@dataclass(frozen=True)
class StoredNetwork:
    """A trained network, as its weights.

    Attributes:
        name: Name for people.
        dataset: Resolved spec.
        model: Resolved spec.
        state: Weights as a run left them.
        limit: Most images of each split that are used; None for all.
    """

    name: str
    dataset: str
    model: str
    state: Mapping[str, Tensor]
    limit: int | None = None

    @property
    def protocol(self) -> str:
        """Protocol that trains what the weights are of."""
        return protocol_of_state(self.state)


class Scored(NamedTuple):
    """Scores of a network, with the logits and images that they come from."""

    scoring: Scoring
    looks: AblationLogits
    test: Split
    classes: Sequence[str]


def network_of_file(path: Path, dataset: str, model: str | None) -> StoredNetwork:
    """The network of a weights file.

    Args:
        path: The file.
        dataset: Spec of the dataset.
        model: Spec of the model; None for the dataset's own.

    Raises:
        LabelAttackError: If the file cannot be read, or a name is unknown.
    """
    resolved = datasets.resolve(dataset)
    chosen = datasets.get(resolved.name).default_model
    return StoredNetwork(
        path.stem, str(resolved), str(models.resolve(model or chosen)), read_weights(path)
    )


def networks_of_store(folder: Path, keys: Sequence[str], seed: int) -> list[StoredNetwork]:
    """Networks of a store.

    Args:
        folder: The store.
        keys: Keys of cells, or how they begin; none for the selected runs of one seed.
        seed: That seed.

    Raises:
        StoreError: If there are none, or their weights were not kept.
    """
    store = RecordStore(folder, create=False)
    records = list(store)
    if keys:
        wanted = [r for r in records if any(r.key.startswith(key) for key in keys)]
    else:
        wanted = [r for r in selected_runs(records) if r.cell.seed == seed]
    wanted = [r for r in wanted if r.status == "done"]
    if not wanted:
        which = f"cell {' or '.join(keys)}" if keys else f"seed {seed}"
        raise StoreError(f"'{folder}' must hold a finished run of {which}, got none")
    names = [f"{_name(record)}, seed {record.cell.seed}" for record in wanted]
    states = [_weights(store, record) for record in wanted]
    if len(set(names)) < len(names):
        names = [f"{name}, {record.key}" for name, record in zip(names, wanted, strict=True)]
    return [
        StoredNetwork(name, record.cell.dataset, record.cell.model, state, record.cell.limit)
        for name, record, state in zip(names, wanted, states, strict=True)
    ]


def score_networks(
    networks: Sequence[StoredNetwork],
    settings: DScoreSettings,
    compute: Compute,
    grids: Iterable[int] | None = None,
) -> Iterator[Scored]:
    """Scores networks one after the other; all are prepared before the first is scored.

    Args:
        networks: Which.
        settings: How to measure.
        compute: Where, and who is told.
        grids: Other grids to measure on; None for the usual ones, 0 counts for none.

    Raises:
        LabelAttackError: If a network cannot be scored.
    """
    asked = None if grids is None else [grid for grid in grids if grid]
    grids_of: dict[tuple[str, str, int | None], list[int]] = {}
    for dataset, model, protocol, limit in {
        (n.dataset, n.model, n.protocol, n.limit) for n in networks
    }:
        setup = setup_of(dataset, model, protocol, compute, limit)
        others = usual_grids(setup, settings) if asked is None else asked
        grids_of[dataset, model, limit] = others
        for grid in (settings.grid, *others):
            settings.model_copy(update={"grid": grid}).prepare(setup)
    compute.progress("scored", 0, len(networks))
    for done, each in enumerate(networks, 1):
        on, of, protocol, limit = each.dataset, each.model, each.protocol, each.limit
        network = rebuild(on, of, protocol, each.state, limit).to(compute.device)
        run = trained_run(on, of, network, compute, protocol=protocol, limit=limit)
        found = score_network(each.name, run, settings, grids=grids_of[on, of, limit])
        yield Scored(*found, load(on, limit).classes)
        compute.progress("scored", done, len(networks))


def _name(record: Record) -> str:
    return f"{defenses.short(record.cell.defense)} under {attacks.short(record.cell.attack)}"


def _weights(store: RecordStore, record: Record) -> Mapping[str, Tensor]:
    state = store.weights(record.key)
    if state is None:
        raise StoreError(
            f"scoring {_name(record)} (cell {record.key}) needs its weights, which "
            f"'{store.folder}' does not hold; run the same bench command again with --out to a new "
            "store, and --weights"
        )
    return state
