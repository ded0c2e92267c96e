"""Result of a check as text, as Markdown for GitHub, and as JUnit XML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.text import row_title, some, title
from labelattack.benchmark.gate.check import Change, Check, Verdict
from labelattack.defenses import registry as defenses
from labelattack.errors import printable
from labelattack.files.storage import saved
from labelattack.metrics.text import with_interval
from labelattack.optional import require

COLUMNS = ("attack", "defense", "measure", "then", "now", "drop", "p corrected", "seeds", "verdict")


def cells(change: Change) -> list[str]:
    """A comparison as people read it, in the order of COLUMNS; scores in points."""
    return [
        attacks.short(change.pair.attack),
        defenses.short(change.pair.defense),
        change.measure,
        with_interval(change.before, None, digits=2),
        with_interval(change.now, None, digits=2),
        with_interval(change.drop, change.interval, signed=True, digits=2),
        "-" if change.p_corrected is None else f"{change.p_corrected:.4f}",
        "-" if change.seeds is None else f"{_seeds(change)} {change.test}",
        change.verdict.upper() if change.verdict == "regression" else change.verdict,
    ]


def _seeds(change: Change) -> str:
    then, now = change.seeds or (0, 0)
    return str(then) if change.test == "paired" else f"{then}, {now}"


def by_board(check: Check) -> Iterator[tuple[str, list[Change]]]:
    """The comparisons of each board, with its title."""
    for board, changes in groupby(check.changes, lambda change: change.board):
        yield title(board), list(changes)


def remarks(check: Check) -> list[str]:
    """Remarks beside the table."""
    limits = check.limits
    found = [
        "drop: points (hundredths) worse than the baseline, ± 95 % t-interval of that row alone; "
        "p: one-sided, Holm-corrected over all comparisons.",
        f"A regression has p < {limits.alpha:g} and a drop of more than {limits.tolerance:g}.",
    ]
    versions: dict[str, list[str]] = {}
    reasons: dict[str, list[str]] = {}
    for change in check.changes:
        if change.versions is not None:
            versions.setdefault(_versions(change), []).append(row_title(change.pair))
        if change.verdict == "cannot compare":
            reasons.setdefault(change.reason, []).append(_name(change))
    found += [f"{some(names)}: {told}" for told, names in versions.items()]
    found += [f"cannot compare {some(names)}: {reason}" for reason, names in reasons.items()]
    return [*found, *check.notes]


def _versions(change: Change) -> str:
    """The versions of a row where they have changed, else nothing."""
    return "" if change.versions is None else "versions {} then, {} now".format(*change.versions)


def _name(change: Change) -> str:
    return f"{change.measure} of {row_title(change.pair)}"


def summary(check: Check) -> str:
    """One line on what came of it."""
    verdict = {0: "no regression", 1: "regression", 2: "cannot compare"}[check.exit_code]
    parts = [f"{len(check.changes)} comparisons"]
    told: dict[Verdict, str] = {
        "regression": "worse beyond noise and tolerance",
        "improved": "improved",
        "cannot compare": "not comparable",
    }
    for kind, words in told.items():
        if count := len(check.of(kind)):
            parts.append(f"{count} {words}")
    worst = max(check.of("regression"), key=lambda change: change.drop or 0.0, default=None)
    if worst is not None:
        drop = with_interval(worst.drop, worst.interval, digits=2)
        parts.append(f"worst: {_name(worst)} lost {drop} points, p {worst.p_corrected:.2g}")
    return f"{verdict}: {', '.join(parts)}"


def to_text(check: Check) -> str:
    """Summary, table and remarks as plain text."""
    lines = [summary(check)]
    for name, changes in by_board(check):
        table = [list(COLUMNS), *map(cells, changes)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["", name]
        for row in table:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
    return printable("\n".join([*lines, "", *remarks(check)]))


def to_markdown(check: Check) -> str:
    """Summary, table and remarks as Markdown, in which names are only text."""
    lines = [f"### {_escaped(summary(check))}"]
    for name, changes in by_board(check):
        lines += ["", f"**{_escaped(name)}**", ""]
        for row in ([*COLUMNS], ["---"] * len(COLUMNS), *map(cells, changes)):
            text = row if row[0] == "---" else map(_escaped, row)
            lines.append("| " + " | ".join(text) + " |")
    return "\n".join([*lines, "", *(f"- {_escaped(remark)}" for remark in remarks(check)), ""])


def _escaped(text: str) -> str:
    flat = html.escape(" ".join(printable(text).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", flat)


def outputs(check: Check) -> dict[str, str | int]:
    """Outputs of a step of a GitHub workflow, by name."""
    return {
        "exit-code": check.exit_code,
        "verdict": summary(check).partition(":")[0],
        "comparisons": len(check.changes),
        "regressions": len(check.of("regression")),
        "improved": len(check.of("improved")),
        "incomparable": len(check.of("cannot compare")),
    }


def badge(check: Check) -> dict[str, str | int]:
    """Badge of a check, in the schema of shields.io/badges/endpoint-badge."""
    counted = len(check.of("regression")) or len(check.of("cannot compare")) or len(check.changes)
    colors = {0: "brightgreen", 1: "red", 2: "lightgrey"}
    return {
        "schemaVersion": 1,
        "label": "labelattack",
        "message": f"{outputs(check)['verdict']} ({counted} of {len(check.changes)})",
        "color": colors[check.exit_code],
    }


def save_text(path: Path, text: str) -> None:
    """Writes a text whole or not at all.

    Raises:
        StoreError: If it cannot be written.
    """
    with saved(path) as part:
        part.write_text(text, encoding="utf-8")


def write_junit(path: Path, check: Check) -> None:
    """Writes one test case for each comparison, in a suite for each board.

    Raises:
        LabelAttackError: If junitparser is not installed.
        StoreError: If it cannot be written.
    """
    junit = require("junitparser", "ci")
    report = junit.JUnitXml("labelattack check")
    for name, changes in by_board(check):
        suite = junit.TestSuite(printable(name))
        for change in changes:
            case = junit.TestCase(printable(_name(change)), printable(name))
            told = [f"{k} {v}" for k, v in zip(COLUMNS, cells(change), strict=True)]
            shown = ", ".join(filter(None, [*told, _versions(change)]))
            if change.verdict == "regression":
                case.result = [junit.Failure(printable(shown), change.verdict)]
            elif change.verdict == "cannot compare":
                case.result = [junit.Error(printable(change.reason), change.verdict)]
            else:
                case.system_out = printable(shown)
            suite.add_testcase(case)
        report.add_testsuite(suite)
    report.update_statistics()
    with saved(path) as part:
        report.write(str(part), pretty=True)
