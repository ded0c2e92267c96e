"""Records as one table for other tools."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from labelattack.benchmark.extras import extra
from labelattack.benchmark.store import Record
from labelattack.benchmark.upkeep import flat
from labelattack.errors import ParameterError, StoreError
from labelattack.storage import written_whole


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
    try:
        with written_whole(path) as part:
            if path.suffix == ".csv":
                with part.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, columns, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(whole)
            else:
                arrow = extra("pyarrow", "parquet")
                table = arrow.Table.from_pylist(whole)
                extra("pyarrow.parquet", "parquet").write_table(table, part)
    except OSError as error:
        raise StoreError(f"export '{path}' cannot be written: {error}") from error
