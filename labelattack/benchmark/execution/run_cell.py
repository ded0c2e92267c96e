"""Running cells: attack, train, select, score."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from labelattack.attacks import registry as attacks
from labelattack.attacks.manifest import manifest
from labelattack.benchmark.execution.context import (
    attacked_labels,
    attacked_validation,
    data_of,
    prepared,
    rebuild,
    task_of,
    trained_run,
)
from labelattack.benchmark.plan.cell import CODE, Cell, attack_version
from labelattack.benchmark.store.provenance import circumstances
from labelattack.benchmark.store.record import Record, Removal
from labelattack.defenses import registry as defenses
from labelattack.defenses.base import PartialLabelLoss, Task
from labelattack.errors import DatasetError, PluginError
from labelattack.measures.clean_scores import CleanScores, score
from labelattack.measures.outcome import Outcome
from labelattack.measures.request import NOTHING, MeasureRequest
from labelattack.measures.run import TrainedRun
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.seeding import stream_seed
from labelattack.training.compute import Compute
from labelattack.training.distributed import world_size
from labelattack.training.hardware import resolve_device
from labelattack.training.isolation import attempt
from labelattack.training.loop import Fit, Scores, normalises_batches, predict
from labelattack.training.protocols import registry as protocols
from labelattack.training.protocols.base import Prepared
from labelattack.training.training_run import TrainingRun
from labelattack.training.validation import ValidationLabels


@dataclass(frozen=True)
class _Run:
    """A cell, attacked and ready to train."""

    cell: Cell
    removal: Removal
    training: TrainingRun
    validation: ValidationLabels


class _Clock:
    """Time since it was made, of the wall and of this process's CPU."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        """Seconds, by the fields of a record."""
        return {
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
        }


Keep = Callable[[Cell, dict[str, Tensor]], None]


def run_cells(
    cells: Sequence[Cell],
    *,
    device: str = "cpu",
    measures: MeasureRequest = NOTHING,
    keep: Keep = lambda cell, state: None,
) -> Iterator[Record]:
    """Attacks, trains, selects and scores the cells of one group.

    Args:
        cells: A group, see [groups][labelattack.benchmark.execution.grouping.groups].
        device: Where to compute.
        measures: What to measure beside test mAP.
        keep: Given the trained weights of each cell.

    Yields:
        A record for each, as soon as it is scored. A run that diverges, whose plug-in raises, or
        that cannot read its images, gives a failed one; the others go on. Times are each cell's own
        and its share of the group's.

    Raises:
        DatasetError: If the data are not those that the cells name.
        StoreError: If something cannot be written.
    """
    _require_same_data(cells)
    _require_same_components(cells)
    training = _Clock()
    found: list[_Run | Exception] = [attempt(_begin, cell, device) for cell in cells]
    runs = [run for run in found if isinstance(run, _Run)]
    fits = iter(_train(runs, device))
    shared = training.spent()
    for cell, run in zip(cells, found, strict=True):
        own = _Clock()
        result = next(fits) if isinstance(run, _Run) else run
        if isinstance(run, _Run) and isinstance(result, Fit):
            result = attempt(_finish, run, result, device, measures, keep)
        # One bad cell must not cost the others; the reason is kept and the exit code tells.
        failed = {"reason": f"{type(result).__name__}: {result}"}
        outcome = result if isinstance(result, dict) else failed
        times = {
            name: round(whole / len(cells) + part, 3)
            for (name, whole), part in zip(shared.items(), own.spent().values(), strict=True)
        }
        yield _facts(cell, device).model_copy(update={**outcome, **times})


def run_cell(cell: Cell, *, device: str = "cpu", measures: MeasureRequest = NOTHING) -> Record:
    """Record of one cell; see [run_cells][labelattack.benchmark.execution.run_cell.run_cells]."""
    return next(run_cells([cell], device=device, measures=measures))


def measured_again(
    record: Record, state: dict[str, Tensor], measures: MeasureRequest, *, device: str = "cpu"
) -> Record:
    """A finished record with what it lacks, measured on what it trained.

    Args:
        record: The record.
        state: Weights that its cell trained.
        measures: What is wanted.
        device: Where to compute.
    """
    _require_same_data([record.cell])
    cell, lacking = record.cell, record.lacking(measures)
    network = rebuild(cell.dataset, cell.model, cell.protocol, state, cell.limit)
    network.to(resolve_device(device))
    attack, _ = attacked_labels(cell, Compute(device))
    chosen = attacked_validation(cell, attack, Compute(device))
    run = _as_measured(cell, network, chosen, device)
    update: dict[str, object] = {"outcomes": record.outcomes | _outcomes(run, lacking)}
    if lacking.resamples:
        update["test"] = _tested(run, lacking.resamples)
    return record.model_copy(update=update)


def _require_same_data(cells: Sequence[Cell]) -> None:
    """Another machine's copy of a dataset may not be the one that the cell names."""
    for cell in cells:
        found = data_of(cell).fingerprint
        if found != cell.fingerprint:
            raise DatasetError(
                f"dataset '{cell.dataset}' must have fingerprint {cell.fingerprint} as where the "
                f"grid was made, got {found}; copy the same files to every machine"
            )


def _require_same_components(cells: Sequence[Cell]) -> None:
    """Plug-ins and weights are files that may have been edited since the grid was made."""
    for kind, registry in (("attack", attacks), ("defense", defenses), ("model", models)):
        for spec, wanted in {(getattr(cell, kind), cell.versions[kind]) for cell in cells}:
            found = (
                attack_version(Spec.parse(spec)) if registry is attacks else registry.version(spec)
            )
            if not registry.is_builtin(spec):
                fits = found == wanted
            else:  # another machine may not be able to tell whether its package was edited
                fits = wanted.endswith(registry.content_of_files(spec))
            if not fits:
                raise _edited(kind, registry.short(spec), wanted, found)
    for spec, wanted in {(cell.protocol, cell.versions.get(CODE, "")) for cell in cells}:
        found = protocols.version(spec)
        if not protocols.is_builtin(spec) and not wanted.endswith(found):
            raise _edited("protocol", protocols.short(spec), wanted, found)


def _edited(kind: str, name: str, wanted: str, found: str) -> PluginError:
    return PluginError(
        f"{kind} '{name}' must have version {wanted} as when the grid was made, got {found}: its "
        "code or files were edited; run the command again"
    )


def _facts(cell: Cell, device: str) -> Record:
    """A record of what is known whatever comes out."""
    defense = defenses.get(Spec.parse(cell.defense).name)
    return Record(
        key=cell.key,
        cell=cell,
        status="failed",
        oracle=defense.oracle,
        privileged=defense.privileged,
        **circumstances(device, models.get(Spec.parse(cell.model).name).libraries),
    )


def _prepared(cell: Cell, device: str) -> Prepared:
    return prepared(cell.dataset, models.resolve(cell.model), cell.protocol, device, cell.limit)


def _begin(cell: Cell, device: str) -> _Run:
    splits = data_of(cell)
    _prepared(cell, device)  # fails here where it fails, for this cell alone
    before = splits.train.partial
    attack, attacked = attacked_labels(cell, Compute(device))
    account = manifest(attack, cell.attack, cell.seed, before, attacked)
    task = task_of(cell.loss, splits, attacked, seed=cell.seed)
    chosen = attacked_validation(cell, attack, Compute(device))
    return _Run(
        cell=cell,
        validation=chosen,
        removal=Removal(
            requested_rate=account.requested_rate,
            realised_rate=account.realised_rate,
            rate_of=account.rate_of,
            positives_removed=account.positives_removed,
            q_hat=account.q_hat,
            attacked_labels=attacked.digest(),
            known_share=None if before.is_complete else splits.train.known_share,
        ),
        training=TrainingRun(
            network=protocols.create(cell.protocol).build(
                models.create(cell.model),
                len(splits.classes),
                seed=stream_seed(cell.seed, "initialisation"),
            ),
            loss=_bound(cell, task),
            loss_on=lambda rows: _bound(cell, task.take(rows)),
            kind=f"{cell.loss} {cell.recipe.reduction}",
            labels=attacked,
            validation=chosen,
            recipe=cell.recipe,
            seed=cell.seed,
        ),
    )


def _bound(cell: Cell, task: Task) -> PartialLabelLoss:
    loss = defenses.create(cell.loss)
    loss.as_mean = cell.recipe.reduction == "mean"
    loss.bind(task)
    return loss


def _train(runs: Sequence[_Run], device: str) -> list[Fit | Exception]:
    """Fits of a group's runs as their protocol trains them, or why they failed."""
    if not runs:
        return []
    first = runs[0].cell
    protocol, ready = protocols.create(first.protocol), _prepared(first, device)
    training = [run.training for run in runs]
    fits = attempt(protocol.train, training, ready, resolve_device(device))
    if isinstance(fits, Exception):
        return [fits] * len(runs)
    if len(fits) != len(runs):
        raise PluginError(
            f"protocol '{first.protocol}' must return a fit for each of {len(runs)} runs, got "
            f"{len(fits)}"
        )
    return list(fits)


def _finish(
    run: _Run, result: Fit, device: str, measures: MeasureRequest, keep: Keep
) -> dict[str, object]:
    cell, network = run.cell, run.training.network
    network.to(resolve_device(device)).load_state_dict(result.state)
    keep(cell, result.state)
    scores = predict(network, _prepared(cell, device).test)
    trained = _as_measured(cell, network, run.validation, device, scores)
    found = {
        "status": "done",
        "removal": run.removal,
        "selection_rule": run.validation.rule_for(epoch.val_map for epoch in result.epochs),
        "caveats": _caveats(cell, network, device),
        "fallbacks": result.fallbacks,
        "preprocessing": models.create(cell.model).preprocessing.as_json(),
        "epochs": result.epochs,
        "selected_epoch": result.selected,
        "val_map": result.epochs[result.selected - 1].val_map,
        "test": _tested(trained, measures.resamples),
        "outcomes": _outcomes(trained, measures),
    }
    # Features were read before; looking at every file would take as long as training a head.
    reads = protocols.create(cell.protocol).reads_images or "network" in vars(trained)
    if reads and not all(split.is_unchanged for split in data_of(cell).parts.values()):
        raise DatasetError("images must stay as they are while a run lasts, but were replaced")
    return found


def _caveats(cell: Cell, network: nn.Module, device: str) -> tuple[str, ...]:
    """Caveats of divided batches: their batch statistics are of each part alone."""
    if not normalises_batches(network):
        return ()
    part, whole = cell.recipe.micro_batch, cell.recipe.batch_size
    found = []
    if part is not None and part < whole:
        found.append(f"batch normalisation over micro-batches of {part}, not batches of {whole}")
    if world_size() > 1 and not device.startswith("cuda"):
        found.append(f"batch normalisation over each of {world_size()} processes' images alone")
    return tuple(found)


def _as_measured(
    cell: Cell,
    network: nn.Module,
    chosen: ValidationLabels,
    device: str,
    scores: Scores | None = None,
) -> TrainedRun:
    """A trained network as measures see it."""
    return trained_run(
        cell.dataset,
        cell.model,
        network,
        Compute(device),
        protocol=cell.protocol,
        limit=cell.limit,
        validation_labels=chosen,
        test_scores=scores,
        attacked=lambda: attacked_labels(cell, Compute(device)),
    )


def _outcomes(run: TrainedRun, request: MeasureRequest) -> dict[str, Outcome]:
    """Outcome of each requested measure."""
    return {name: measure.measure(run) for name, measure in request.measures.items()}


def _tested(run: TrainedRun, resamples: int) -> CleanScores:
    return score(run.scores, run.splits.test, run.splits.classes, resamples)
