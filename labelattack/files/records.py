"""Files of records, read as a stream: delimited text, Parquet, JSON and JSON lines."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from labelattack.errors import shown, unknown
from labelattack.files.delimited import DELIMITERS, Delimited
from labelattack.files.json_stream import elements, top_level
from labelattack.files.text import check_text
from labelattack.optional import require

T = TypeVar("T")
_CELLS = 1 << 14  # that are Python objects at a time; with more, the garbage collector takes longer
_DECLARED = re.compile(r"(image_id)\s*\((\w+)\)", re.IGNORECASE)


class Chunk(NamedTuple):
    """Some records, one after the other in the file.

    Attributes:
        places: Line, row or number of each record, from 1.
        columns: For each column that was asked for, the cells of these records, as they are in
            the file.
    """

    places: Sequence[int]
    columns: list[Sequence[Any]]


class Records(ABC):
    """The records of a file, each with the same named cells.

    Attributes:
        unit: Kind of the number that gives a record's place.
        names: Name of each column.
        id_column: Column of the image ids, unless the user names another.
        encoding: Encoding of labels that the file declares; None if it declares none.
        divided_by: Hint on how columns are divided, if the file does not say it itself.
    """

    unit: ClassVar[str] = "record"
    divided_by: str = ""
    names: list[str]
    id_column: str = "image_id"
    encoding: str | None = None

    @abstractmethod
    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the cells of some columns, in pieces of bounded size.

        Raises:
            ValueError: If the file is damaged; names the place.
        """

    def place(self, number: int) -> str:
        """Text for the place of a record."""
        return f"{self.unit} {number}"

    def place_of(self, position: int) -> str:
        """Text for the place of the record at a position, from 0; reads the file up to it."""
        places = (place for chunk in self.chunks(self.names[:1]) for place in chunk.places)
        return self.place(next(islice(places, position, None)))

    def misnamed(self, reason: str) -> ValueError:
        """Builds the error for wrong names of columns, for the caller to raise."""
        names = ", ".join(f"'{name}'" for name in self.names[:6]) or "none"
        more = ", ..." if len(self.names) > 6 else ""
        return ValueError(f"{self._header()}, got {names}{more}: {reason}")

    def check_names(self, *, first: bool = False) -> None:
        """Raises ValueError unless all columns have names, and all differ.

        Args:
            first: Whether the first column needs a name too.
        """
        start = 0 if first else 1
        unnamed = next((n for n, name in enumerate(self.names[start:], start + 1) if not name), 0)
        if unnamed:
            raise self.misnamed(f"column {unnamed} has no name")
        for name, times in Counter(self.names).most_common(1):
            if times > 1:
                raise self.misnamed(f"'{name}' is there {times} times")

    def check_there(self, column: str) -> str:
        """Returns a column that must exist; raises ValueError if it does not."""
        if column not in self.names:
            near = str(unknown("column", column, self.names)).partition("; ")[2]
            raise self.misnamed(f"no column is '{column}'; {near}")
        return column

    def _header(self) -> str:
        return "it must name every column once"


class DelimitedRecords(Records):
    """Rows of a delimited text file; its first column names the image, whatever it is called."""

    unit = "line"

    def __init__(self, path: Path, delimiters: str = DELIMITERS) -> None:
        self._table = Delimited(path, delimiters)
        signs = "tabs" if delimiters == "\t" else "commas, semicolons or tabs"
        self.divided_by = f", divided by {signs}"
        self.names = list(self._table.header.fields)
        # Attacked labels declare their encoding beside the name of the first column.
        if declared := _DECLARED.fullmatch(self.names[0]):
            self.names[0], self.encoding = declared.groups()
        self.id_column = self.names[0]

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the fields of some columns, with their outer spaces."""
        wanted = [self.names.index(name) for name in columns]
        for rows in _in_parts(self._table.rows(), len(self.names)):
            lines, fields = zip(*rows, strict=True)
            yield Chunk(lines, [[row[place] for row in fields] for place in wanted])

    def _header(self) -> str:
        line = self._table.header.line
        return f"line {line} must be a header that names every column once"


class _Objects(Records):
    """Records that are objects of JSON, each with the same keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.names = next((list(record) for _, record in self._objects()), [])
        self.check_names(first=True)

    @abstractmethod
    def _objects(self) -> Iterator[tuple[int, Any]]:
        """Place and value of each record."""

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the values of some keys."""
        for some in _in_parts(self._objects(), len(self.names)):
            for place, record in some:
                if record.keys() != self._keys:
                    raise self._other_keys(place, record)
            yield Chunk([n for n, _ in some], [[r[name] for _, r in some] for name in columns])

    @property
    def _keys(self) -> set[str]:
        return set(self.names)

    def _other_keys(self, place: int, record: dict[str, Any]) -> ValueError:
        lacks = [f"none for '{name}'" for name in self.names if name not in record]
        more = [f"'{name}'" for name in record if name not in self._keys]
        return ValueError(
            f"{self.place(place)} must have the keys of the first, got {(lacks + more)[0]} (null "
            "may stand for no value)"
        )

    def _checked(self, place: int, record: Any) -> tuple[int, dict[str, Any]]:
        if not isinstance(record, dict):
            raise ValueError(f"{self.place(place)} must be an object, got {shown(record)}")
        return place, record


class JsonLines(_Objects):
    """A file with a JSON object a line."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        check_text(path)
        super().__init__(path)

    def _objects(self) -> Iterator[tuple[int, Any]]:
        with self._path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, start=1):
                if text.strip():
                    try:
                        record = json.loads(text, object_pairs_hook=_once)
                    except (ValueError, RecursionError) as error:
                        raise ValueError(f"line {line} must be a JSON object: {error}") from error
                    yield self._checked(line, record)


class JsonRecords(_Objects):
    """A JSON file that is a list of objects."""

    def _objects(self) -> Iterator[tuple[int, Any]]:
        for number, record in enumerate(elements(self._path, "item", _Noting), start=1):
            if isinstance(record, _Noting) and record.twice is not None:
                raise ValueError(f"{self.place(number)}: {_twice(record.twice)}")
            yield self._checked(number, record)


class JsonColumns(Records):
    """A JSON file that is an object of lists, one for each column."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self._path, self.names = path, names
        self.check_names(first=True)

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the cells of some columns; each is a stream of its own through the file."""
        none = object()
        streams = (elements(self._path, f"{name}.item") for name in columns)
        numbers = count(1)
        for rows in _in_parts(zip_longest(*streams, fillvalue=none), len(columns)):
            short = [columns[row.index(none)] for row in rows if none in row]
            if short:
                raise ValueError(
                    f"its columns must be lists of one length, got another for '{short[0]}'"
                )
            yield Chunk(
                list(islice(numbers, len(rows))), [list(c) for c in zip(*rows, strict=True)]
            )
        if next(numbers) == 1:  # pandas writes objects of rows unless told otherwise
            raise ValueError(
                "its columns must be lists that are not empty; of a data frame, write "
                "to_json(orient='records')"
            )


class ParquetRecords(Records):
    """Rows of a Parquet file."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self.names = list(file.schema_arrow.names)
        self.check_names(first=True)

    def _open(self) -> Any:
        return require("pyarrow.parquet", "parquet").ParquetFile(self._path)

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Yields the cells of some columns as Python values."""
        first, size = 1, max(_CELLS // len(columns), 1)
        with self._open() as file:
            for batch in file.iter_batches(size, columns=list(columns)):
                places = range(first, first + batch.num_rows)
                first += batch.num_rows
                yield Chunk(places, [batch.column(name).to_pylist() for name in columns])


def _json(path: Path) -> Records:
    keys = top_level(path)
    return JsonRecords(path) if keys is None else JsonColumns(path, keys)


_KINDS: dict[str, Callable[[Path], Records]] = {
    ".csv": DelimitedRecords,
    ".tsv": lambda path: DelimitedRecords(path, "\t"),
    ".parquet": ParquetRecords,
    ".json": _json,
    ".jsonl": JsonLines,
}
RECORD_KINDS = tuple(_KINDS)


def open_records(path: Path) -> Records:
    """Opens a file of records; its suffix, one of ``RECORD_KINDS``, gives its kind.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged; names the place. Readers of Parquet may raise any exception.
        LabelAttackError: If the library that reads it is not installed.
    """
    return _KINDS[path.suffix.lower()](path)


def _in_parts(items: Iterable[T], width: int) -> Iterator[list[T]]:
    """Lists of successive items, of a size that holds about as many cells whatever the width."""
    stream, size = iter(items), max(_CELLS // max(width, 1), 1)
    while part := list(islice(stream, size)):
        yield part


class _Noting(dict[str, Any]):
    """An object of JSON that notes a duplicate key; ijson cannot bear that it raises."""

    twice: str | None = None

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self.twice = key
        super().__setitem__(key, value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _twice(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return made


def _twice(key: str) -> ValueError:
    return ValueError(f"keys must differ in an object, got {shown(key)} twice")
