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

store = typer.Typer(no_args_is_help=True, help="Look after stores of results.")


@store.command("ls")
def ls(results: Results, as_json: AsJson = False) -> None:
    """Lists what a store holds: a line for each dataset, model, protocol, attack and defense."""
    from collections import defaultdict

    from labelattack.attacks import registry as attacks
    from labelattack.datasets import registry as datasets
    from labelattack.defenses import registry as defenses
    from labelattack.models import registry as models

    found: dict[tuple[str, ...], list[Any]] = defaultdict(list)
    for record in stored_records(results):
        c = record.cell
        found[c.dataset, c.model, c.protocol, c.attack, c.defense].append(record)
    columns = ("dataset", "model", "protocol", "attack", "defense")
    lines = [
        {
            **dict(zip(columns, key, strict=True)),
            "cells": len(records),
            "failed": sum(r.status == "failed" for r in records),
            "seeds": len({r.cell.seed for r in records}),
            "cpu_seconds": round(sum(r.cpu_seconds for r in records), 1),
        }
        for key, records in sorted(found.items())
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
    rows = [
        [short[k].short(str(v)) if k in short else str(v) for k, v in line.items()]
        for line in lines
    ]
    names = (*columns, "cells", "failed", "seeds", "CPU s")
    cells = sum(len(records) for records in found.values())
    print_table(f"{results}: {cells} cells", names, rows)


@store.command()
def verify(results: Results, as_json: AsJson = False) -> None:
    """Reads every record and every weights file, and names what is damaged or left over.

    Changes nothing. Exits with 1 if a record or weights are damaged.
    """
    from labelattack.benchmark.store.maintenance import findings
    from labelattack.benchmark.store.store import RecordStore

    with progress_bars(quiet=as_json) as progress:
        progress("verifying", 0, 1)
        found = list(findings(RecordStore(results, create=False)))
        progress("verifying", 1, 1)
    damaged = [finding for finding in found if finding.kind.startswith("damaged")]
    _print_findings(found, as_json)
    say(f"{len(damaged)} files are damaged; bench computes them again" if damaged else "intact")
    if damaged:
        raise typer.Exit(EXIT_FAILED_CELLS)


@store.command()
def gc(
    results: Results,
    older_than: Annotated[
        float, typer.Option(min=0, help="Minutes; younger files may still be written.")
    ] = 60,
    dry_run: Annotated[bool, typer.Option(help="Say what would go, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes half-written files, abandoned claims, quarantined records and orphaned weights."""
    from labelattack.benchmark.store.maintenance import collect
    from labelattack.benchmark.store.store import RecordStore

    known = RecordStore(results, create=False)
    found = collect(known, stale=60 * older_than, dry_run=dry_run)
    _print_findings(found, as_json)
    say(f"{'would delete' if dry_run else 'deleted'} {len(found)} files")


@store.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Stores to read.")],
    into: Annotated[Path, typer.Option(help="Store to write; made if it is not there.")],
) -> None:
    """Copies the records of some stores, with their weights, into another.

    Exits with 1 if two stores have other numbers for one cell; the one there first is kept.
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
    """Writes one line a record, every plain value a column, for other tools."""
    from labelattack.benchmark.store.export import export as written
    from labelattack.files.storage import check_apart

    check_apart("the export", out, "the store that is read", results)
    records = stored_records(results)
    written(records, out)
    say(f"wrote {len(records)} records to '{out}'")


def _print_findings(found: list[Finding], as_json: bool) -> None:
    if as_json:
        lines = [{**f._asdict(), "path": str(f.path)} for f in found]
        typer.echo(json.dumps(lines, indent=1))
    elif found:
        rows = [(f.kind, str(f.path), f.detail) for f in found]
        print_table("", ("what", "file", "detail"), rows)
