"""The audit command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelattack.cli._console import (
    AsJson,
    Device,
    Jobs,
    Plugins,
    load_plugins,
    print_json,
    print_table,
    progress_bars,
    say,
)

if TYPE_CHECKING:
    from labelattack.audit.run import Audit
    from labelattack.datasets.base import Split
    from labelattack.datasets.table import Table

_SHOWN = 10


def audit(
    labels: Annotated[
        Path, typer.Argument(help="Labels: .csv, .tsv, .parquet, .json, .jsonl, .npy or .npz.")
    ],
    images: Annotated[
        str | None,
        typer.Argument(
            help="Folder with the image files, or several divided by semicolons, or .npy; not "
            "needed with --verdicts."
        ),
    ] = None,
    defense: Annotated[
        str, typer.Option(help="Loss that learns from the labels; no oracle.")
    ] = "pseudo-history",
    model: Annotated[
        str, typer.Option(help="Model; `labelattack list models` has them.")
    ] = "efficientnet-lite0",
    labels_encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of LABELS: binary (1, 0: negatives may be missed positives), or signed, "
            "missing, nan, where hidden entries may."
        ),
    ] = "binary",
    table: Annotated[
        str,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="How to read LABELS: further parameters of dataset table, e.g. "
            "layout=lists,sep=pipe.",
        ),
    ] = "",
    groups: Annotated[
        Path | None,
        typer.Option(help="File with columns id, group: images of a group are in one fold."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Networks, each trained on the others.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and training.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Entries to review.")] = 1000,
    out: Annotated[Path, typer.Option(help="File for the entries to review, .csv.")] = Path(
        "audit.csv"
    ),
    html: Annotated[
        Path | None,
        typer.Option(help="Page that shows the first 200 with their images; extra 'report'."),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="Reviewed file, with yes or no as verdict; needs --labels-out."),
    ] = None,
    labels_out: Annotated[
        Path | None, typer.Option(help="File for the labels after the review: .csv, .npy, .npz.")
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="Encoding of --labels-out; default: that of LABELS. Of binary labels, another one "
            "hides the negatives that nobody reviewed."
        ),
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Finds the entries of a label file that are most likely missed positives, for review.

    Trains on the labels as they are, scores every image by a network that was trained without it,
    and writes the most likely entries. With --verdicts, takes a reviewed file back and writes new
    labels; nothing is trained then.

    For example: `labelattack audit labels.csv photos/ --html audit.html`
    """
    from labelattack.errors import ParameterError

    load_plugins(plugin)
    source = _table(labels, images or ".", labels_encoding, table)
    if (verdicts is None) != (labels_out is None):
        given, lacking = ("--verdicts", "--labels-out")[:: 1 if verdicts else -1]
        raise ParameterError(f"{given} must come with {lacking}, got none")
    if verdicts is not None and labels_out is not None:
        _take_back(source, verdicts, labels_out, encoding or labels_encoding, as_json)
        return
    if images is None:
        raise ParameterError("IMAGES must be a folder with the image files, got none")
    if encoding is not None:
        raise ParameterError("--encoding must come with --verdicts and --labels-out, got neither")
    _check_places(labels, out, html)
    split = _split(source, groups)
    options = {"defense": defense, "folds": folds, "seed": seed, "top": top}
    found = _audited(split, source.encoding, model, options, device, jobs, plugin, quiet=as_json)
    facts = _facts(labels, split, found, model, defense, folds, seed)
    _write(found, split, facts, out, html)
    _show(found, facts, out, html, as_json)


def _table(labels: Path, images: str, encoding: str, more: str) -> Table:
    from typing import cast

    from labelattack.datasets import registry as datasets
    from labelattack.errors import ParameterError
    from labelattack.labels import check_encoding
    from labelattack.registry.spec import Spec

    check_encoding(encoding)
    given = dict(Spec.parse(f"table:{more}" if more else "table").params)
    options = {"labels": "LABELS", "images": "IMAGES", "encoding": "--labels-encoding"}
    for name in given:
        if name in options or name in ("splits", "stratify", "val", "test", "split_seed"):
            instead = f"; use {options[name]}" if name in options else ": an audit divides nothing"
            raise ParameterError(f"--table must not have '{name}'{instead}")
    own = {"labels": str(labels), "images": images, "encoding": encoding}
    return cast("Table", datasets.create(Spec.of("table", given | own)))


def _split(source: Table, groups: Path | None) -> Split:
    from labelattack.errors import ParameterError
    from labelattack.labels.side_files import read_groups

    split, classes = source.undivided()
    split.partial = split.partial.named(split.ids, classes)
    if groups is not None:
        if split.groups is not None:
            raise ParameterError("groups must come from --groups or holdout_by, got both")
        split.groups = read_groups(groups, split.ids)
    return split


def _audited(
    split: Split,
    encoding: Any,
    model: str,
    options: dict[str, Any],
    device: str,
    jobs: int | None,
    plugin: list[str] | None,
    *,
    quiet: bool,
) -> Audit:
    from labelattack.audit.run import audit as run
    from labelattack.training.compute import Compute
    from labelattack.training.hardware import resolve_device, single_thread

    computed_on = str(resolve_device(device))
    single_thread()
    processes = jobs or (os.cpu_count() or 1 if computed_on == "cpu" else 1)
    plugins = tuple(str(Path(path).resolve()) for path in plugin or ())
    with progress_bars(quiet=quiet) as progress:
        compute = Compute(computed_on, processes, plugins, progress)
        return run(split, encoding, model, compute=compute, **options)


def _check_places(labels: Path, out: Path, html: Path | None) -> None:
    from labelattack.errors import StoreError
    from labelattack.files.storage import check_apart

    if out.suffix.lower() != ".csv":
        raise StoreError(f"the file of an audit must end in .csv, got '{out}'")
    check_apart("the audit", out, "the labels", labels)
    if html is not None:
        from labelattack.audit.page import check_page

        check_page(html)
        check_apart("the page", html, "the labels", labels)


def _facts(
    labels: Path, split: Split, found: Audit, model: str, defense: str, folds: int, seed: int
) -> list[tuple[str, str]]:
    known, images = split.partial, len(split)
    return [
        ("labels", str(labels)),
        ("images x labels", f"{images:,} x {known.shape[1]:,}"),
        ("known positives", f"{known.known_positives:,}"),
        ("entries that may be missed positives", f"{found.candidates:,}"),
        ("defense", defense),
        ("model", model),
        ("folds, seed", f"{folds}, {seed}"),
    ]


def _write(
    found: Audit, split: Split, facts: list[tuple[str, str]], out: Path, html: Path | None
) -> None:
    from labelattack.audit.review import write_findings

    write_findings(out, found.findings)
    if html is not None:
        from labelattack.audit.page import write_page

        write_page(html, found, split.images, facts)


def _show(
    found: Audit, facts: list[tuple[str, str]], out: Path, html: Path | None, as_json: bool
) -> None:
    if as_json:
        entries = [
            {"rank": f.rank, "image": f.image, "class": f.label, "score": f.score,
             "status": f.status}
            for f in found.findings
        ]  # fmt: skip
        print_json(json.dumps({"candidates": found.candidates, "entries": entries}, indent=1))
        return
    print_table("", ("", ""), facts)
    first = [
        (str(f.rank), f.image, f.label, f"{f.score:.3f}", f.status) for f in found.findings[:_SHOWN]
    ]
    title = f"first {len(first)} of {len(found.findings)} entries to review"
    print_table(title, ("rank", "image", "class", "score", "status"), first)
    say(f"wrote '{out}'" + (f" and '{html}'" if html else ""))


def _take_back(
    source: Table, verdicts: Path, labels_out: Path, encoding: Any, as_json: bool
) -> None:
    from labelattack.audit.candidates import doubted
    from labelattack.audit.review import after_review
    from labelattack.files.storage import check_apart
    from labelattack.labels import check_encoding, write_labels

    check_encoding(encoding)
    check_apart("the labels after the review", labels_out, "the labels", Path(source.labels))
    check_apart("the labels after the review", labels_out, "the verdicts", verdicts)
    table = source.read()
    found = after_review(verdicts, table, doubted(table.labels, source.encoding), encoding)
    write_labels(labels_out, found.table, encoding)
    if as_json:
        print_json(json.dumps({"yes": found.yes, "no": found.no, "written": str(labels_out)}))
        return
    rows = [
        ("made positive", str(found.yes)),
        ("made negative", str(found.no)),
        ("written", f"{labels_out} ({encoding})"),
    ]
    print_table("", ("", ""), rows)
