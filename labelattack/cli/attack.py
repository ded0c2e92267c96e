"""The attack command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelattack.cli._console import (
    AsJson,
    Plugins,
    load_plugins,
    print_json,
    print_table,
)


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
    chosen = attacks.create(attack)
    table = read_labels(labels, labels_encoding, array=array)  # type: ignore[arg-type]
    attacked = chosen(table.labels, seed=seed)
    account = account_of(
        chosen, str(attacks.resolve(attack)), seed, table.labels, attacked
    ).model_copy(update={"encoding": encoding})
    write_labels(out, LabelTable(attacked, table.ids, table.classes), encoding)  # type: ignore[arg-type]
    with saved(beside, "manifest") as part:
        part.write_text(account.model_dump_json() + "\n", encoding="utf-8")
    if as_json:
        print_json(account.model_dump_json(exclude={"removed_per_class", "removed_per_image"}))
        return
    known = account.positives + account.negatives
    rows = [
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
        ("written", f"{out} ({encoding}), {beside}"),
    ]
    print_table("", ("", ""), rows)


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
