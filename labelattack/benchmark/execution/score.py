"""A closer look at trained networks, of a store or of a weights file, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from labelattack.attacks import registry as attacks
from labelattack.benchmark.execution.context import load, rebuild, setup_of, trained_run
from labelattack.benchmark.selection import selected_runs
from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split
from labelattack.defenses import registry as defenses
from labelattack.errors import ModelError, StoreError
from labelattack.measures._d_score.distributions import AblationLogits
from labelattack.measures._d_score.sensitivity import Scoring, score_network, usual_grids
from labelattack.measures.clean_scores import CleanScores, score
from labelattack.measures.d_score import DScoreSettings
from labelattack.models import registry as models
from labelattack.models.library import LibraryModel
from labelattack.models.weights import fit, missing_entries, read_weights
from labelattack.registry.spec import Spec
from labelattack.training.compute import Compute
from labelattack.training.loop import predict
from labelattack.training.protocols import protocol_of_state
from labelattack.training.protocols.linear import Linear

_NOT_LINEAR = (
    "no D-Score: its head sees more than the average of the last map, such as a class token, or is "
    "not linear in it"
)


@dataclass(frozen=True)
class StoredNetwork:
    """A trained network of a store or a file.

    Attributes:
        name: Name for people.
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: Protocol that trains what ``build`` gives.
        build: Rebuilds what was trained, from its weights.
        test: Its scores on the test images, if they are known.
        obstacle: Reason why it has no D-Score; empty if it has one.
        limit: Most images of each split that are used; None for all.
    """

    name: str
    dataset: str
    model: str
    protocol: str
    build: Callable[[], nn.Module]
    test: CleanScores | None = None
    obstacle: str = ""
    limit: int | None = None


class Scored(NamedTuple):
    """Scores of a network, with the logits and images that its D-Score comes from, if any."""

    scoring: Scoring
    looks: AblationLogits | None
    test: Split
    classes: Sequence[str]


def network_of_file(path: Path, dataset: str, model: str | None) -> StoredNetwork:
    """The network of a weights file: of a run, or of a library's classifier trained elsewhere.

    Args:
        path: The file.
        dataset: Spec of the dataset.
        model: Spec of the model; None for the dataset's own. Where the file has the whole network,
            no weights are needed beside it.

    Raises:
        LabelAttackError: If the file cannot be read, a name is unknown, or the weights do not fit.
    """
    on, state = datasets.resolve(dataset), read_weights(path)
    given = models.resolve(model or datasets.get(on.name).default_model)
    of = str(given if Linear.owns(state) else _without_weights(given))
    built, labels = models.create(of), len(load(str(on)).classes)
    if isinstance(built, LibraryModel) and not Linear.owns(state):
        found = _of_library(built, labels, state, f"weights must fit model '{of}' on '{on}'")
        if found is not None:
            network = built.as_network(found)
            obstacle = "" if network is not None else _NOT_LINEAR
            trained = found if network is None else network
            return StoredNetwork(
                path.stem, str(on), of, "finetune", lambda: trained, obstacle=obstacle
            )
    protocol = protocol_of_state(state)
    return StoredNetwork(
        path.stem, str(on), of, protocol, lambda: rebuild(str(on), of, protocol, state)
    )


def _without_weights(model: Spec) -> Spec:
    """A model's spec without weights, as the file has them all, where pixels stay the same."""
    if dict(model.params).get("weights") is None:
        return model
    bare = models.resolve(Spec.of(model.name, dict(model.params) | {"weights": None}))
    same = models.create(bare).preprocessing == models.create(model).preprocessing
    return bare if same else model


def _of_library(
    model: LibraryModel, labels: int, state: Mapping[str, Tensor], rule: str
) -> nn.Module | None:
    """The classifier of a library with its weights; None if they are of a network of ours."""
    classifier = model.classifier(labels)
    own = missing_entries(model.build(labels, seed=0), state)
    if own <= missing_entries(classifier, state):
        return None
    try:
        fit(classifier, state, rule)
    except ModelError as error:
        raise StoreError(str(error)) from error
    return classifier


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
        _of_record(name, record, state)
        for name, record, state in zip(names, wanted, states, strict=True)
    ]


def _of_record(name: str, record: Record, state: Mapping[str, Tensor]) -> StoredNetwork:
    cell = record.cell
    on, of, protocol, limit = cell.dataset, cell.model, cell.protocol, cell.limit
    return StoredNetwork(
        name, on, of, protocol, lambda: rebuild(on, of, protocol, state, limit), record.test,
        limit=limit,
    )  # fmt: skip


def score_networks(
    networks: Sequence[StoredNetwork],
    settings: DScoreSettings | None,
    compute: Compute,
    grids: Iterable[int] | None = None,
) -> Iterator[Scored]:
    """Scores networks one after the other; all are prepared before the first is scored.

    Args:
        networks: Which.
        settings: How to measure the D-Score; None for mAP alone.
        compute: Where, and who is told.
        grids: Other grids to measure on; None for the usual ones, 0 counts for none.

    Raises:
        LabelAttackError: If a network cannot be scored.
    """
    asked = None if grids is None else [grid for grid in grids if grid]
    grids_of = {} if settings is None else _prepared(networks, settings, compute, asked)
    compute.progress("scored", 0, len(networks))
    for done, each in enumerate(networks, 1):
        others = grids_of.get((each.dataset, each.model, each.limit), ())
        yield _scored(each, settings, compute, others)
        compute.progress("scored", done, len(networks))


def _prepared(
    networks: Sequence[StoredNetwork],
    settings: DScoreSettings,
    compute: Compute,
    asked: Sequence[int] | None,
) -> dict[tuple[str, str, int | None], Sequence[int]]:
    """Other grids of each dataset and model; fails where one does not fit."""
    grids_of: dict[tuple[str, str, int | None], Sequence[int]] = {}
    seen = {(n.dataset, n.model, n.protocol, n.limit) for n in networks if not n.obstacle}
    for dataset, model, protocol, limit in seen:
        setup = setup_of(dataset, model, protocol, compute, limit)
        others = usual_grids(setup, settings) if asked is None else asked
        grids_of[dataset, model, limit] = others
        for grid in (settings.grid, *others):
            settings.model_copy(update={"grid": grid}).prepare(setup)
    return grids_of


def _scored(
    each: StoredNetwork, settings: DScoreSettings | None, compute: Compute, grids: Sequence[int]
) -> Scored:
    trained = each.build().to(compute.device)
    run = trained_run(
        each.dataset, each.model, trained, compute, protocol=each.protocol, limit=each.limit
    )
    test, classes = run.splits.test, run.splits.classes
    tested = each.test
    if tested is None:
        # Of the whole network: features of the other splits are not needed.
        tested = score(predict(run.network, run.inputs(test), alone=True), test, classes)
    if settings is None or each.obstacle:
        note = "" if settings is None else each.obstacle
        return Scored(Scoring(name=each.name, test=tested, note=note), None, test, classes)
    scoring, looks, used = score_network(each.name, run, settings, grids=grids)
    return Scored(scoring.model_copy(update={"test": tested}), looks, used, classes)


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
