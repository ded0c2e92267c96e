"""The attack command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelattack.cli._console import (
    AsJson,
    Plugins,
    load_plugins,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from labelattack.attacks.manifest import Manifest


def attack(
    labels: Annotated[
        Path, typer.Argument(help="Labels: .csv, .tsv, .parquet, .json, .jsonl, .npy or .npz.")
    ],
    out: Annotated[Path, typer.Option(help="File for the attacked labels: .csv, .npy, .npz.")],
    attack: Annotated[str, typer.Option(help="Attack, e.g. targeted:rate=0.4.")] = "targeted",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed; equal seeds give equal labels on every machine.")
    ] = 0,
    manifest: Annotated[
        Path | None, typer.Option(help="File for the manifest; default: OUT.manifest.json.")
    ] = None,
    array: Annotated[str, typer.Option(help="Name of the matrix in an .npz.")] = "labels",
    encoding: Annotated[
        str,
        typer.Option(help="Encoding of OUT: signed (1, -1, 0=hidden), missing (1, 0, -1), nan."),
    ] = "missing",
    labels_encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of LABELS: binary (1, 0), or one of the above where some are unknown."
        ),
    ] = "binary",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Page that shows what the attack did: classes, images, co-occurrence, the label "
            "matrix before and after. FILE.png beside it holds its picture. Needs the extra "
            "'report'.",
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Attacks a file of labels; writes the remaining labels and a manifest of the removal."""
    from labelattack.attacks import registry as attacks
    from labelattack.attacks.manifest import manifest as account_of
    from labelattack.files.label_files import manifest_beside
    from labelattack.files.storage import saved
    from labelattack.labels import LabelTable, check_encoding, read_labels, write_labels

    load_plugins(plugin)
    check_encoding(encoding)
    beside = manifest or manifest_beside(out)
    _check_places(labels, out, beside, encoding)
    pages = _report_places(report, labels, out, beside)
    chosen = attacks.create(attack)
    table = read_labels(labels, labels_encoding, array=array)  # type: ignore[arg-type]
    attacked = chosen(table.labels, seed=seed)
    account = account_of(
        chosen, str(attacks.resolve(attack)), seed, table.labels, attacked
    ).model_copy(update={"encoding": encoding})
    write_labels(out, LabelTable(attacked, table.ids, table.classes), encoding)  # type: ignore[arg-type]
    with saved(beside, "manifest") as part:
        part.write_text(account.model_dump_json() + "\n", encoding="utf-8")
    rows = _counts(account)
    if report is not None:
        from labelattack.benchmark.report.html.label_page import write_label_page

        facts = [*rows[:1], ("seed", str(seed)), *rows[1:]]
        write_label_page(report, facts, table.labels, attacked, table.classes)
    if as_json:
        print_json(account.model_dump_json(exclude={"removed_per_class", "removed_per_image"}))
        return
    written = ", ".join(map(str, (f"{out} ({encoding})", beside, *pages)))
    print_table("", ("", ""), [*rows, ("written", written)])


def _counts(account: Manifest) -> list[tuple[str, str]]:
    """Names and texts of the counts of a manifest, the attack first."""
    known = account.positives + account.negatives
    return [
        ("attack", account.attack),
        ("images x labels", f"{account.images} x {account.labels}"),
        *([("known before", _of(known, known + account.unknown))] if account.unknown else []),
        ("positives removed", _of(account.removed_positives, account.positives)),
        ("negatives removed", _of(account.removed_negatives, account.negatives)),
        (
            "all known labels removed (q-hat)" if account.unknown else "all labels removed (q-hat)",
            _of(account.removed_positives + account.removed_negatives, known),
        ),
        (
            "requested rate",
            f"{account.requested_rate} of {account.rate_of}"
            if account.requested_rate is not None
            else "none",
        ),
        ("images left without a positive", str(account.emptied_images)),
    ]


def _report_places(report: Path | None, *others: Path) -> list[Path]:
    """Files of the report, after a check that they overwrite none of the others; none without."""
    if report is None:
        return []
    from labelattack.benchmark.report.html.label_page import check_label_page
    from labelattack.files.storage import check_apart

    pages = [report, check_label_page(report)]
    names = ("the labels that are attacked", "the attacked labels", "the manifest")
    for what, page in zip(("the report", "the picture of the report"), pages, strict=True):
        for other, path in zip(names, others, strict=True):
            check_apart(what, page, other, path)
    return pages


def _check_places(labels: Path, out: Path, manifest: Path, encoding: str) -> None:
    """Raises if a file would overwrite another, or could not be recognised as attacked."""
    from labelattack.errors import LabelError
    from labelattack.files.label_files import manifest_beside
    from labelattack.files.storage import check_apart, same_file

    check_apart("attacked labels", out, "the labels that are attacked", labels)
    check_apart("the manifest", manifest, "the labels that are attacked", labels)
    check_apart("the manifest", manifest, "the attacked labels", out)
    silent = encoding == "signed" and out.suffix.lower() == ".npy"
    if silent and not same_file(manifest, manifest_beside(out)):
        raise LabelError(
            f"the manifest of '{out}' must be '{manifest_beside(out)}', got '{manifest}': an .npy "
            "in encoding 'signed' cannot say by itself that 0 is hidden; leave out --manifest, or "
            "write .npz, .csv or encoding 'missing'"
        )


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.2f} %)" if whole else "")
