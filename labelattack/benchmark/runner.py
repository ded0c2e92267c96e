"""Running cells: one at a time, or a grid of them over processes."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from labelattack.attacks import registry as attacks
from labelattack.attacks.manifest import manifest
from labelattack.benchmark.grid import Cell
from labelattack.benchmark.selection import validation_labels
from labelattack.benchmark.store import CleanScores, Record, RecordStore, Removal
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split, Splits
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import Task
from labelattack.diagnosis.looks import Parts, mutants
from labelattack.diagnosis.score import (
    VERSION,
    Diagnosis,
    box_densities,
    choose_images,
    diagnose,
    looks_of_head,
    looks_of_network,
    parts_of_backbone,
    shape_of,
)
from labelattack.diagnosis.settings import CHEAP_OPERATOR, DScoreSettings
from labelattack.errors import DatasetError, ModelError, StoreError
from labelattack.evaluation.average_precision import (
    average_precision,
    defined_mean,
    mean_average_precision,
)
from labelattack.evaluation.dscore import Looks
from labelattack.models import registry as models
from labelattack.models.base import Network
from labelattack.mutations.base import Stage
from labelattack.registry import Spec
from labelattack.seeding import stream_seed
from labelattack.training.device import resolve_device
from labelattack.training.features import Progress
from labelattack.training.fit import Scores, fit, predict
from labelattack.training.inputs import ImageInputs
from labelattack.training.protocols import Prepared, Protocol, prepare
from labelattack.training.workers import worker_pool


@lru_cache(maxsize=1)
def load(dataset: str) -> Splits:
    """Loads a dataset, keeping the last one."""
    return datasets.create(dataset).load()


@lru_cache(maxsize=1)
def _prepared(dataset: str, model: Spec, protocol: Protocol, device: str) -> Prepared:
    return prepare(protocol, load(dataset), model, device=resolve_device(device))


@lru_cache(maxsize=1)
def _chosen_test(dataset: str, images: int, seed: int) -> Split:
    """The test images on which D-Score is measured; the same for every cell."""
    test = load(dataset).test
    return test.take(choose_images(test.labels, images, seed=seed))


@lru_cache(maxsize=2)
def _parts(dataset: str, model: Spec, settings: DScoreSettings, device: str) -> tuple[Parts, Stage]:
    stage = shape_of(load(dataset), model, settings, device=resolve_device(device))
    chosen = _chosen_test(dataset, settings.images, settings.seed)
    return parts_of_backbone(chosen, model, stage, settings, device=device), stage


def looks_of(
    dataset: str, model: str, network: nn.Module, settings: DScoreSettings, *, device: str = "cpu"
) -> tuple[Looks, Split, Stage]:
    """What a trained network says of the test images when parts of it, or of them, are gone.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        network: The whole network, or under the linear protocol the head.
        settings: What to measure.
        device: Where to compute.

    Returns:
        Logits, the images used (the same for every network on a dataset), and map and grid; what
        [diagnose][labelattack.diagnosis.score.diagnose] takes.
    """
    resolved = models.resolve(model)
    test = _chosen_test(dataset, settings.images, settings.seed)
    if isinstance(network, nn.Linear) and settings.operator == CHEAP_OPERATOR:
        parts, stage = _parts(dataset, resolved, settings, device)
        return looks_of_head(network, parts), test, stage
    built, target = models.create(resolved), resolve_device(device)
    if isinstance(network, nn.Linear):
        network = Network(built.frozen(), network)
    inputs = ImageInputs(test.images, built.preprocessing, target)
    looks, stage = looks_of_network(network.to(target), "backbone", inputs, settings)
    return looks, test, stage


def protocol_of(state: Mapping[str, Tensor]) -> Protocol:
    """Under which protocol weights were trained: the linear one trains the head only."""
    return "linear" if set(state) == {"weight", "bias"} else "finetune"


def rebuild(dataset: str, model: str, state: Mapping[str, Tensor]) -> nn.Module:
    """A trained network, or under the linear protocol its head, from weights.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        state: ``weight`` and ``bias`` of a head, or everything.

    Raises:
        StoreError: If the weights do not fit.
    """
    built, labels = models.create(model), len(load(dataset).classes)
    linear = protocol_of(state) == "linear"
    network = built.head(labels, seed=0) if linear else built.build(labels, seed=0)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(f"weights must fit model '{model}' on '{dataset}': {reason}") from error
    return network


def run_cell(
    cell: Cell,
    *,
    device: str = "cpu",
    d_score: DScoreSettings | None = None,
    keep: Callable[[dict[str, Tensor]], None] = lambda state: None,
) -> Record:
    """Attacks, trains, selects and scores one cell.

    Args:
        cell: What to run.
        device: Where to compute.
        d_score: How to measure the D-Score; None for none.
        keep: Given the trained weights.

    Returns:
        The record. A run that diverges, or whose plug-in raises, gives a failed one.

    Raises:
        DatasetError: If an image cannot be read.
        ModelError: If the model cannot be built.
    """
    clock, cpu = time.perf_counter(), time.process_time()
    defense = defenses.get(Spec.parse(cell.defense).name)
    facts = Record(
        key=cell.key,
        cell=cell,
        status="failed",
        oracle=defense.oracle,
        privileged=defense.privileged,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        libraries=_libraries(),
        commit=_commit(),
        machine=f"{platform.machine()} {platform.system()} {platform.python_version()}",
    )
    try:
        outcome = _train_and_score(cell, device, d_score, keep)
    except (DatasetError, ModelError, StoreError):
        raise
    except Exception as error:
        # One bad cell must not cost the others; the reason is kept and the exit code tells.
        outcome = {"reason": f"{type(error).__name__}: {error}"}
    times = {
        "seconds": round(time.perf_counter() - clock, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }
    return facts.model_copy(update={**outcome, **times})


def _train_and_score(
    cell: Cell,
    device: str,
    d_score: DScoreSettings | None,
    keep: Callable[[dict[str, Tensor]], None],
) -> dict[str, object]:
    splits = load(cell.dataset)
    prepared = _prepared(cell.dataset, models.resolve(cell.model), cell.protocol, device)
    attack = attacks.create(cell.attack)
    attacked = attack(splits.train.labels, seed=cell.seed)
    account = manifest(attack, cell.attack, cell.seed, splits.train.labels, attacked)
    chosen = validation_labels(attack, splits.val.labels, cell.selection, seed=cell.seed)
    loss = defenses.create(cell.defense)
    loss.bind(
        Task(
            labels=attacked,
            seed=stream_seed(cell.seed, "loss"),
            expected_positives=splits.expected_positives,
        )
    )
    network = prepared.build(stream_seed(cell.seed, "initialisation"))

    def validate(candidate: nn.Module) -> float:
        scores = predict(candidate, prepared.val)
        return mean_average_precision(scores, chosen.labels, scored=chosen.scored)

    result = fit(
        network,
        loss,
        prepared.train,
        attacked,
        cell.recipe,
        seed=cell.seed,
        device=resolve_device(device),
        validate=validate,
    )
    network.load_state_dict(result.state)
    keep(result.state)
    return {
        "status": "done",
        "removal": Removal(
            requested_rate=account.requested_rate,
            realised_rate=account.realised_rate,
            rate_of=account.rate_of,
            positives_removed=account.positives_removed,
            q_hat=account.q_hat,
        ),
        "selection_rule": chosen.rule,
        "epochs": result.epochs,
        "selected_epoch": result.selected,
        "val_map": result.epochs[result.selected - 1].val_map,
        "test": _score(predict(network, prepared.test), splits.test, splits.classes),
        "diagnosis": d_score and _diagnosis(cell, network, d_score, device),
    }


def _diagnosis(cell: Cell, network: nn.Module, settings: DScoreSettings, device: str) -> Diagnosis:
    looks = looks_of(cell.dataset, cell.model, network, settings, device=device)
    return diagnose(*looks, settings)


def _score(scores: Scores, test: Split, classes: Sequence[str]) -> CleanScores:
    per_class = average_precision(scores, test.labels, scored=test.scored)
    defined = [None if np.isnan(value) else float(value) for value in per_class]
    micro, eleven = (
        mean_average_precision(scores, test.labels, scored=test.scored, variant=variant)
        for variant in ("micro", "voc-11-point")
    )
    return CleanScores(
        map=defined_mean(per_class),
        map_micro=micro,
        map_voc_11_point=eleven,
        per_class=dict(zip(classes, defined, strict=True)),
        undefined_classes=defined.count(None),
    )


def run_grid(
    cells: Sequence[Cell],
    store: RecordStore,
    *,
    device: str = "cpu",
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    retry_failed: bool = False,
    d_score: DScoreSettings | None = None,
    keep_weights: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> int:
    """Runs the cells that the store does not hold; each record is on disk when it is finished.

    Args:
        cells: What is wanted.
        store: Where records are, and go.
        device: Where to compute.
        jobs: Processes.
        plugins: Plug-in files that the processes must load.
        retry_failed: Whether to run cells again that failed before.
        d_score: How to measure D-Scores; None for none. A stored cell that has another or none is
            measured from its stored weights, or trained again where these were not kept.
        keep_weights: Whether to store what each cell trained.
        progress: Told of preparation and cells.

    Returns:
        Number of cells that were run.
    """
    missing = [cell for cell in cells if _wanted(store.get(cell.key), retry_failed, d_score)]
    if not missing:
        return 0
    for dataset, model, protocol in {(c.dataset, c.model, c.protocol) for c in missing}:
        # In this process, so that the features are cached before several others want them.
        prepare(
            protocol,
            load(dataset),
            models.resolve(model),
            device=resolve_device(device),
            jobs=jobs,
            plugins=plugins,
            progress=progress,
        )
        if d_score is not None:
            prepare_d_score(dataset, model, protocol, d_score, device, jobs, plugins, progress)
    progress("cells", 0, len(missing))
    done = 0
    with worker_pool(min(jobs, len(missing)), plugins) as pool:
        waiting = list(reversed(missing))
        running: set[Future[Record]] = set()
        while waiting or running:
            # A short queue: an interrupt has little to cancel.
            while waiting and len(running) < 2 * jobs:
                task = waiting.pop(), device, store.folder, d_score, keep_weights
                running.add(pool.submit(_run_and_store, *task))
                if jobs == 1:
                    break
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                future.result()
                done += 1
                progress("cells", done, len(missing))
    return done


def prepare_d_score(
    dataset: str,
    model: str,
    protocol: Protocol,
    settings: DScoreSettings,
    device: str,
    jobs: int,
    plugins: tuple[str, ...],
    progress: Progress,
) -> None:
    """Finds what cannot be measured before anything is trained, and fills the cache.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: What was or will be trained; only linear heads have something to cache.
        settings: What to measure.
        device: Where to compute.
        jobs: Processes.
        plugins: Plug-in files that those must load.
        progress: Told of the extraction.

    Raises:
        ParameterError: If the grid does not fit the model's last stage.
        DatasetError: If boxes are asked for and the dataset has none.
    """
    resolved, splits = models.resolve(model), load(dataset)
    stage = shape_of(splits, resolved, settings, device=resolve_device(device))
    mutants(stage, settings)
    chosen = _chosen_test(dataset, settings.images, settings.seed)
    if settings.features == "boxes":
        box_densities(chosen, stage.rows, stage.columns)
    if protocol == "linear" and settings.operator == CHEAP_OPERATOR:
        parts_of_backbone(
            chosen,
            resolved,
            stage,
            settings,
            device=str(resolve_device(device)),
            jobs=jobs,
            plugins=plugins,
            progress=progress,
        )


def _wanted(record: Record | None, retry_failed: bool, d_score: DScoreSettings | None) -> bool:
    if record is None or (retry_failed and record.status == "failed"):
        return True
    return record.status == "done" and d_score is not None and not _measured(record, d_score)


def _measured(record: Record, d_score: DScoreSettings) -> bool:
    found = record.diagnosis
    return found is not None and found.version == VERSION and found.settings == d_score


def _run_and_store(
    cell: Cell, device: str, folder: Path, d_score: DScoreSettings | None, keep_weights: bool
) -> Record:
    store = RecordStore(folder)
    record = store.get(cell.key)
    state = store.weights(cell.key) if record and record.status == "done" else None
    if record is not None and state is not None and d_score is not None:
        network = rebuild(cell.dataset, cell.model, state)
        found = _diagnosis(cell, network, d_score, device)
        record = record.model_copy(update={"diagnosis": found})
    else:

        def keep(state: dict[str, Tensor]) -> None:
            if keep_weights:
                store.add_weights(cell.key, state)

        record = run_cell(cell, device=device, d_score=d_score, keep=keep)
    store.add(record)
    return record


@cache
def _libraries() -> dict[str, str]:
    found = {"torch": torch.__version__, "numpy": np.__version__}
    try:
        found["labelattack"] = version("labelattack")
    except PackageNotFoundError:
        found["labelattack"] = "not installed"
    return found


@cache
def _commit() -> str | None:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None
