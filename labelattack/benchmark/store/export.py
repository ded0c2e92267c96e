"""Records as one table for other tools."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from labelattack.benchmark.store.record import Record
from labelattack.errors import ParameterError
from labelattack.files.storage import saved
from labelattack.optional import require


def export(records: Sequence[Record], path: Path) -> None:
    """Writes one line a record.

    Args:
        records: What to write.
        path: Ends in ``.parquet`` (extra ``[parquet]``) or ``.csv``.

    Raises:
        ParameterError: If it ends otherwise.
        StoreError: If it cannot be written.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise ParameterError(f"export must go to a .parquet or .csv file, got '{path}'")
    lines = [flat(record) for record in records]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    whole = [{name: line.get(name) for name in columns} for line in lines]
    with saved(path, "export") as part:
        if path.suffix == ".csv":
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(whole)
        else:
            arrow = require("pyarrow", "parquet")
            table = arrow.Table.from_pylist(whole)
            require("pyarrow.parquet", "parquet").write_table(table, part)


def flat(record: Record) -> dict[str, object]:
    """A record as one line of a table: plain values under dotted names, lists left out."""

    def walk(prefix: str, value: object) -> Iterator[tuple[str, object]]:
        if isinstance(value, dict):
            for key, part in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else str(key), part)
        elif not isinstance(value, list):
            yield prefix, value

    return dict(walk("", record.model_dump(mode="json")))
