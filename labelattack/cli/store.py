"""The store commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._console import (
    EXIT_FAILED_CELLS,
    AsJson,
    print_table,
    progress_bars,
    say,
    stored_records,
)
from labelattack.cli._options import Results

if TYPE_CHECKING:
    from labelattack.benchmark.store.maintenance import Finding

store = typer.Typer(no_args_is_help=True, help="Inspect, verify, clean, merge and export stores.")


@store.command("ls")
def ls(results: Results, as_json: AsJson = False) -> None:
    """Lists the records of a store, one line per dataset, model, protocol, attack and defense.

    For example: `labelattack store ls results`
    """
    from collections import defaultdict

    from labelattack.attacks import registry as attacks
    from labelattack.benchmark.boards.keys import limit_text
    from labelattack.datasets import registry as datasets
    from labelattack.defenses import registry as defenses
    from labelattack.models import registry as models

    by_row: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for record in stored_records(results):
        c = record.cell
        by_row[c.dataset, c.model, c.protocol, c.attack, c.defense, limit_text(c)].append(record)
    columns = ("dataset", "model", "protocol", "attack", "defense")
    lines = [
        {
            **dict(zip(columns, key, strict=False)),
            **({"limit": key[-1]} if key[-1] else {}),
            "cells": len(records),
            "failed": sum(r.status == "failed" for r in records),
            "seeds": len({r.cell.seed for r in records}),
            "cpu_seconds": round(sum(r.cpu_seconds for r in records), 1),
        }
        for key, records in sorted(by_row.items())
    ]
    if as_json:
        typer.echo(json.dumps(lines, indent=1))
        return
    short: dict[str, Any] = {
        "dataset": datasets,
        "model": models,
        "attack": attacks,
        "defense": defenses,
    }
    rows = []
    for line in lines:
        told = {k: short[k].short(str(v)) if k in short else str(v) for k, v in line.items()}
        if limit := told.pop("limit", ""):
            told["dataset"] += f" ({limit})"
        rows.append(list(told.values()))
    names = (*columns, "cells", "failed", "seeds", "CPU s")
    cells = sum(len(records) for records in by_row.values())
    print_table(f"{results}: {cells} cells", names, rows)


@store.command()
def verify(results: Results, as_json: AsJson = False) -> None:
    """Reads all records and weights files, and lists damaged and leftover ones.

    Changes nothing. Exits with 1 if a record or weights are damaged.

    For example: `labelattack store verify results`
    """
    from labelattack.benchmark.store.maintenance import findings
    from labelattack.benchmark.store.store import RecordStore

    with progress_bars(quiet=as_json) as progress:
        progress("verifying", 0, 1)
        problems = list(findings(RecordStore(results, create=False)))
        progress("verifying", 1, 1)
    damaged = [finding for finding in problems if finding.kind.startswith("damaged")]
    _print_findings(problems, as_json)
    say(f"{len(damaged)} files are damaged; bench computes them again" if damaged else "intact")
    if damaged:
        raise typer.Exit(EXIT_FAILED_CELLS)


@store.command()
def gc(
    results: Results,
    older_than: Annotated[
        float, typer.Option(min=0, help="Minutes; younger files may still be written.")
    ] = 60,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files without deleting them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes partial files, abandoned leases, quarantined records and orphaned weights.

    For example: `labelattack store gc results --dry-run`
    """
    from labelattack.benchmark.store.maintenance import collect
    from labelattack.benchmark.store.store import RecordStore

    known = RecordStore(results, create=False)
    leftovers = collect(known, stale=60 * older_than, dry_run=dry_run)
    _print_findings(leftovers, as_json)
    say(f"{'would delete' if dry_run else 'deleted'} {len(leftovers)} files")


@store.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Stores to read.")],
    into: Annotated[Path, typer.Option(help="Store to write to; created if it does not exist.")],
) -> None:
    """Copies the records of stores, with their weights, into another store.

    Exits with 1 if two stores differ in the numbers of a cell; the first record is kept.

    For example: `labelattack store merge results-1 results-2 --into results`
    """
    from labelattack.benchmark.store.maintenance import merge as merged
    from labelattack.benchmark.store.store import RecordStore
    from labelattack.files.storage import check_apart

    for source in sources:
        check_apart("the merged store", into, "a store that is read", source)
    read = [RecordStore(source, create=False) for source in sources]
    done = merged(read, RecordStore(into))
    say(f"copied {done.copied} records into '{into}', which had {done.present} of them already")
    for key in done.differing:
        say(f"cell {key} has other numbers than in '{into}', which keeps its own")
    if done.differing:
        raise typer.Exit(EXIT_FAILED_CELLS)


@store.command()
def export(
    results: Results,
    out: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
) -> None:
    """Writes one line per record and one column per value, for other tools.

    For example: `labelattack store export results results.csv`
    """
    from labelattack.benchmark.store.export import export as written
    from labelattack.files.storage import check_apart

    check_apart("the export", out, "the store that is read", results)
    records = stored_records(results)
    written(records, out)
    say(f"wrote {len(records)} records to '{out}'")


def _print_findings(listed: list[Finding], as_json: bool) -> None:
    if as_json:
        lines = [{**f._asdict(), "path": str(f.path)} for f in listed]
        typer.echo(json.dumps(lines, indent=1))
    elif listed:
        rows = [(f.kind, str(f.path), f.detail) for f in listed]
        print_table("", ("what", "file", "detail"), rows)
