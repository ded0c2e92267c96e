"""Records on disk: one JSON file a finished cell, written whole or not at all."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from safetensors import SafetensorError

from labelattack.benchmark.store.record import Record
from labelattack.errors import StoreError
from labelattack.files.storage import PART, is_file, is_there, saved

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 5


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
        """Weights that a cell trained; None if they were not kept, or are damaged."""
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
