"""Records on disk: one JSON file a finished cell, written whole or not at all."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from labelattack.benchmark.grid import Cell
from labelattack.diagnosis.outcome import Diagnosis
from labelattack.errors import StoreError
from labelattack.robustness.outcome import Corrupted, Evaded
from labelattack.storage import PART, is_file, is_there, saved
from labelattack.training.recipe import Epoch

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 5


class Removal(BaseModel):
    """What the attack removed from the training labels; shares in [0, 1].

    ``attacked_labels`` is a hash of what it left: defenses are compared on equal ones only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requested_rate: float | None
    realised_rate: float | None
    rate_of: str
    positives_removed: float | None
    q_hat: float | None
    attacked_labels: str | None = None


class CleanScores(BaseModel):
    """Scores on clean test labels at the selected epoch; in [0, 1], None where undefined.

    Attributes:
        map: Mean average precision over classes.
        map_micro: All cells as one ranking.
        map_voc_11_point: The interpolated measure of VOC 2007.
        per_class: Average precision of each class.
        undefined_classes: Number of classes that have none.
        saturated_classes: Classes positive on every image that counts: any model has an AP of 1.
        map_interval: 95 % bootstrap interval of ``map`` over images.
        resamples: How many resamples that interval is of; 0 for none.
        mean_prediction: Mean predicted probability of a label.
        prevalence: Share of the test labels that are positive.
        constant_classes: Classes that get the same score on every image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    map: float
    map_micro: float
    map_voc_11_point: float
    per_class: dict[str, float | None]
    undefined_classes: int
    map_interval: tuple[float, float] | None = None
    resamples: int = 0
    mean_prediction: float | None = None
    prevalence: float | None = None
    constant_classes: int | None = None
    saturated_classes: tuple[str, ...] = ()


class Record(BaseModel):
    """The outcome of one cell, with what is needed to trust it.

    Attributes:
        key: The cell's key.
        cell: The cell.
        status: ``failed`` cells have a reason and no scores.
        reason: Why it failed.
        oracle: Whether the defense saw the clean labels.
        privileged: Whether it was told the expected number of positives.
        removal: What the attack removed.
        selection_rule: On which validation cells epoch and recipe are chosen, or that they are not.
        caveats: What of the way it was trained makes its numbers differ from the recipe's letter.
        fallbacks: Why fast paths were left; numbers are the same without it.
        epochs: What each epoch came to.
        selected_epoch: Epoch (from 1) whose model was tested.
        val_map: Validation mAP of that epoch; None if undefined.
        test: Scores on the test split.
        diagnosis: D-Score on the test split; None if it was not asked for.
        evasion: mAP on test images under an evasion attack; likewise.
        corruption: mAP on test images under common corruptions; likewise.
        seconds: Wall time of the run.
        cpu_seconds: CPU time of the run.
        created: UTC time, ISO 8601.
        libraries: Versions of what computed it.
        commit: Git commit of the package's source, if it is a checkout.
        machine: Processor and platform.
        device: What it was computed on.
        peak_memory: Most memory that the process had held when the cell was finished, in MiB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    key: str
    cell: Cell
    status: Literal["done", "failed"]
    reason: str = ""
    oracle: bool = False
    privileged: bool = False
    removal: Removal | None = None
    selection_rule: str = ""
    caveats: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    epochs: list[Epoch] = []
    selected_epoch: int | None = None
    val_map: float | None = None
    test: CleanScores | None = None
    diagnosis: Diagnosis | None = None
    evasion: Evaded | None = None
    corruption: Corrupted | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    created: str = ""
    libraries: dict[str, str] = {}
    commit: str | None = None
    machine: str = ""
    device: str = ""
    peak_memory: float | None = None


class RecordStore:
    """A folder of records.

    Args:
        folder: Created if absent, unless ``create`` is False.
        create: Whether a missing store is made and damaged records are set aside; otherwise the
            store is only read, and a missing one is an error.

    Raises:
        StoreError: If the folder is not a store, cannot be written, or is of a newer format.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        self._writable = create
        self._records = folder / "records"
        marker = folder / "store.json"
        if not is_file(marker):
            if not create:
                raise StoreError(
                    f"results must be a store made by 'labelattack bench', got "
                    f"'{folder}', which has no store.json"
                )
            if is_there(folder) and _is_foreign(folder, marker):
                raise StoreError(
                    f"results must go to a new or empty folder or a store, got "
                    f"'{folder}', which holds other files"
                )
            self._write(marker, json.dumps({"format": FORMAT}))
        try:
            found = json.loads(marker.read_bytes())["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"'{marker}' cannot be read: {error}") from error
        if not isinstance(found, int) or found > FORMAT:
            raise StoreError(
                f"store '{folder}' has format {found}, newer than {FORMAT}, the newest that this "
                "version of labelattack reads; upgrade labelattack"
            )
        if found < FORMAT and create:
            self._write(marker, json.dumps({"format": FORMAT}))

    def add(self, record: Record) -> None:
        """Writes a record atomically.

        Raises:
            StoreError: If it cannot be written, for instance because the disk is full.
        """
        self._write(self._records / f"{record.key}.json", record.model_dump_json(indent=1) + "\n")

    def add_weights(self, key: str, state: Mapping[str, Tensor]) -> None:
        """Writes what a cell trained, atomically.

        Raises:
            StoreError: If it cannot be written.
        """
        from safetensors.torch import save

        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        self._write(self._weights(key), save(tensors))

    def weights(self, key: str) -> dict[str, Tensor] | None:
        """What a cell trained; None if it was not kept, or is damaged."""
        from safetensors.torch import load

        try:
            return load(self._weights(key).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            warnings.warn(f"weights of cell {key} are damaged and ignored: {error}", stacklevel=2)
            return None

    def has_weights(self, key: str) -> bool:
        """Whether what a cell trained is there, intact or not."""
        return self._weights(key).is_file()

    def _weights(self, key: str) -> Path:
        return self.folder / "weights" / f"{key}.safetensors"

    def get(self, key: str) -> Record | None:
        """The record of a cell; None if there is none, or none that is intact."""
        return self._read(self._records / f"{key}.json")

    def __iter__(self) -> Iterator[Record]:
        """Every intact record, in the order of their keys."""
        for path in sorted(self._records.glob("*.json")):
            record = self._read(path)
            if record is not None:
                yield record

    def _read(self, path: Path) -> Record | None:
        try:
            return read_record(path)
        except FileNotFoundError:
            return None
        except StoreError as error:
            warnings.warn(f"{error}; {self._set_aside(path)}", stacklevel=2)
            return None

    def _set_aside(self, path: Path) -> str:
        """Moves a damaged record out of the way if the store may be written."""
        if not self._writable:
            return "it is ignored"
        place = self.folder / "quarantine" / f"{path.stem}-{uuid.uuid4().hex[:8]}.json"
        try:
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
        except OSError as error:
            return f"it is ignored and could not be moved: {error}"
        return f"it is in '{place.parent}' now and will be computed again"

    def _write(self, path: Path, content: str | bytes) -> None:
        with saved(path) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)


def read_record(path: Path) -> Record:
    """Reads one record.

    Args:
        path: File whose name is the cell's key.

    Raises:
        FileNotFoundError: If there is none.
        StoreError: If it is damaged, or not of the cell that its name says.
    """
    try:
        record = Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise StoreError(f"record '{path}' is damaged: {reason[:200]}") from error
    except OSError as error:
        raise StoreError(f"record '{path}' cannot be read: {error}") from error
    if record.key != path.stem or record.key != record.cell.key:
        raise StoreError(f"record '{path}' is of another cell than its name says")
    return record


def _is_foreign(folder: Path, marker: Path) -> bool:
    """Whether a folder without a marker holds something else than a store that is being made."""
    if not folder.is_dir():
        return True
    others = any(not path.name.startswith(PART) for path in folder.iterdir())
    return others and not marker.is_file()
