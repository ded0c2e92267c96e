"""Results of a benchmark: records, leaderboards, and the formats they are written in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelattack.files.storage import expanded
from labelattack.optional import require

if TYPE_CHECKING:
    from labelattack.benchmark.boards.leaderboard import Board
    from labelattack.benchmark.store.record import Record

PathLike = str | os.PathLike[str]


class Results:
    """Records of a benchmark, and the leaderboards that sum them up.

    Args:
        records: Finished and failed records.
        folder: The store that they are in; None if they are in none.
        computed: How many of them were computed by the call that returned this.
        notes: What a reader of the results must know of the data and the run.

    Example:
        >>> import labelattack
        >>> results = labelattack.bench(defenses=["an"], seeds=1, epochs=1, progress=False)
        >>> results.boards[0].rows[0].defense
        'bce'
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        folder: Path | None = None,
        computed: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self.records = list(records)
        self.folder = folder
        self.computed = computed
        self.notes = list(notes)

    @cached_property
    def boards(self) -> list[Board]:
        """A leaderboard for each set of records that may be compared."""
        from labelattack.benchmark.boards.leaderboard import boards

        return boards(self.records)

    @property
    def failed(self) -> list[Record]:
        """The records of failed cells, each with its reason."""
        from labelattack.benchmark.store.failures import failed_of

        return failed_of(self.records)

    def to_dataframe(self, long: bool = False) -> Any:
        """The leaderboards as a pandas data frame.

        Args:
            long: Whether there is a line for each row and metric (``attack``, ``defense``,
                ``metric``, ``value``, ``interval``, ``seeds``, ...), as plots want it; otherwise
                a line a row, with the fields of the CSV format.

        Raises:
            LabelAttackError: If pandas is not installed.
        """
        from labelattack.benchmark.report.notebook import long_rows, wide_rows

        pandas = require("pandas", "dataframe")
        return pandas.DataFrame(long_rows(self.boards) if long else wide_rows(self.boards))

    def to_markdown(self) -> str:
        """A Markdown table for each leaderboard."""
        from labelattack.benchmark.report.tables import to_markdown

        return to_markdown(self.boards)

    def to_json(self) -> str:
        """The leaderboards as a JSON array."""
        from labelattack.benchmark.report.tables import to_json

        return to_json(self.boards)

    def to_csv(self) -> str:
        """The leaderboards as CSV, a line a row."""
        from labelattack.benchmark.report.tables import to_csv

        return to_csv(self.boards)

    def plot(self, path: PathLike | None = None) -> Any:
        """Draws mAP against the share of labels removed, for the first leaderboard with a rate.

        Args:
            path: Where the picture also goes, ``.png``, ``.pdf`` or ``.svg``; None for nowhere.

        Returns:
            A matplotlib figure.

        Raises:
            StoreError: If no attack has a rate, or the picture cannot be written.
        """
        from labelattack.benchmark.report.plots import curves_figure
        from labelattack.errors import StoreError
        from labelattack.measures._d_score.plots import save_figure

        board = next((board for board in self.boards if board.curves), None)
        if board is None:
            raise StoreError(
                "results must hold runs of an attack with a rate, such as targeted:rate=0.4, "
                "got none"
            )
        figure = curves_figure(board)
        if path is not None:
            save_figure(figure, path_of(path))
        return figure

    def report(self, path: PathLike) -> None:
        """Writes the leaderboards as one HTML page that needs no network.

        Args:
            path: The file.

        Raises:
            LabelAttackError: If what the extra ``report`` brings is not installed.
            StoreError: If the file cannot be written.
        """
        from labelattack.benchmark.report.html.page import write_report
        from labelattack.errors import printable

        out = path_of(path)
        name = printable((self.folder or out.with_suffix("")).resolve().name)
        write_report(out, name, self.records)

    def __repr__(self) -> str:
        from labelattack.benchmark.boards.text import title

        place = "" if self.folder is None else f" in '{self.folder}'"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        head = f"Results of {len(self.records)} cells{place}{failed}"
        lines = [f"  {title(board)}: {len(board.rows)} rows" for board in self.boards]
        return "\n".join([head, *lines])

    def _repr_html_(self) -> str:
        """The leaderboards as a notebook shows them."""
        from html import escape

        from labelattack.benchmark.report.notebook import boards_to_html
        from labelattack.benchmark.store.failures import failure_lines

        told = [f"note: {note}" for note in self.notes]
        told += [f"failed: {line}" for line in failure_lines(self.records)]
        below = "<br>".join(map(escape, told))
        return boards_to_html(self.boards) + (f"\n<p><small>{below}</small></p>" if told else "")


def path_of(given: PathLike) -> Path:
    """A path with ``~`` replaced."""
    return expanded(os.fspath(given))


def stored(path: PathLike) -> Results:
    """The results of a store.

    Raises:
        StoreError: If it is not a store.
    """
    from labelattack.benchmark.store.store import RecordStore

    folder = path_of(path)
    return Results(list(RecordStore(folder, create=False)), folder=folder)
