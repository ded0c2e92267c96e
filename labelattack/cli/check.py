"""The check command."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from labelattack.cli._console import (
    AsJson,
    Plugins,
    load_plugins,
    print_json,
    print_table,
    say,
    stored_records,
)
from labelattack.cli._options import Comparing, Results, expanded
from labelattack.errors import printable

if TYPE_CHECKING:
    from labelattack.benchmark.gate.check import Check, Limits


@expanded
def check(
    results: Results,
    baseline: Annotated[
        Path, typer.Option(metavar="FILE.json", help="What to compare with, or to write.")
    ],
    comparing: Comparing,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline instead of comparing.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE.xml", help="Write JUnit XML too.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write the tables as Markdown too.")
    ] = None,
    badge: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write a badge for shields.io's endpoint too."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Compares a store with a baseline: is anything worse, beyond noise and tolerance?

    A row whose loss or attack was edited is compared with what it was before, and both versions are
    shown. Exits with 0 if nothing is worse, 1 if something is, 2 if something cannot be compared.
    Where GITHUB_STEP_SUMMARY is set, a Markdown summary is appended to the file that it names, and
    verdict and counts to that of GITHUB_OUTPUT.

    For example: `labelattack check results --baseline baseline.json --markdown check.md`
    """
    from labelattack.errors import ParameterError

    load_plugins(plugin)
    limits = comparing.limits()
    files = {"--junit": junit, "--markdown": markdown, "--badge": badge}
    if not update:
        _check(results, baseline, limits, files, as_json)
    for option, path in files.items():
        if path is not None:
            raise ParameterError(f"--update must stand without {option}, got {option} {path}")
    _update(results, baseline, limits)


def _check(
    results: Path,
    baseline: Path,
    limits: Limits,
    files: Mapping[str, Path | None],
    as_json: bool,
) -> NoReturn:
    from labelattack.benchmark.gate import formats
    from labelattack.benchmark.gate.check import check_store

    found = check_store(results, baseline, limits)
    if as_json:
        print_json(found.model_dump_json(indent=1))
    else:
        print_check(found)
    if (path := files["--junit"]) is not None:
        formats.write_junit(path, found)
    if (path := files["--markdown"]) is not None:
        formats.save_text(path, formats.to_markdown(found))
    if (path := files["--badge"]) is not None:
        formats.save_text(path, json.dumps(formats.badge(found)) + "\n")
    _append_for_github(found)
    say(formats.summary(found))
    raise typer.Exit(found.exit_code)


def print_check(found: Check) -> None:
    """Prints the comparisons of each board and the remarks on them."""
    from labelattack.benchmark.gate.formats import COLUMNS, by_board, cells, remarks

    for title, changes in by_board(found):
        print_table(title, COLUMNS, map(cells, changes), rigid=len(COLUMNS))
    for remark in remarks(found):
        typer.echo(printable(remark))


def _append_for_github(found: Check) -> None:
    from labelattack.benchmark.gate.formats import outputs, to_markdown

    lines = "".join(f"{name}={value}\n" for name, value in outputs(found).items())
    for variable, text in {
        "GITHUB_STEP_SUMMARY": to_markdown(found) + "\n",
        "GITHUB_OUTPUT": lines,
    }.items():
        path = os.environ.get(variable)
        try:
            if path:
                with Path(path).open("a", encoding="utf-8") as file:
                    file.write(text)
        except OSError as error:
            say(f"warning: {variable} '{path}' cannot be written: {error}")


def _update(results: Path, path: Path, limits: Limits) -> None:
    from labelattack.benchmark.gate.baseline import (
        baseline_of,
        differences,
        read_baseline,
        write_baseline,
    )
    from labelattack.benchmark.gate.check import MIN_SEEDS
    from labelattack.benchmark.gate.current import current
    from labelattack.errors import StoreError

    records, left_out = current(stored_records(results))
    new = baseline_of(records, limits.measures)
    rows = [row for board in new.boards for row in board.rows]
    if not any(row.scores for row in rows):
        raise StoreError(
            f"'{results}' must hold a finished run with {' or '.join(limits.measures)}, got none"
        )
    changes = [f"new: {len(rows)} rows in {len(new.boards)} boards"]
    if path.exists():
        try:
            changes = differences(read_baseline(path), new) or ["nothing changed"]
        except StoreError as error:
            say(f"warning: {error}; it is replaced")
    write_baseline(path, new)
    for line in (*changes, *left_out):
        typer.echo(printable(line))
    short = sum(len(scores) < MIN_SEEDS for row in rows for scores in row.scores.values())
    if short:
        say(f"warning: {short} scores are of one seed, which cannot tell a change from noise")
    failing = sum(len(row.failed) for row in rows)
    if failing:
        say(f"warning: {failing} seeds failed and are no part of the baseline's scores")
    say(f"wrote '{path}'")
