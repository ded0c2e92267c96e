"""The attack command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelattack.cli.common import (
    AsJson,
    Plugins,
    load_plugins,
    print_json,
    print_table,
)


def attack(
    labels: Annotated[Path, typer.Argument(help="Clean labels: .csv, .npy or .npz.")],
    out: Annotated[Path, typer.Option(help="Where the attacked labels go: .csv, .npy, .npz.")],
    attack: Annotated[str, typer.Option(help="Attack, e.g. targeted:rate=0.4.")] = "targeted",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same labels, anywhere.")] = 0,
    manifest: Annotated[
        Path | None, typer.Option(help="Where the manifest goes; default: OUT.manifest.json.")
    ] = None,
    array: Annotated[str, typer.Option(help="Name of the matrix in an .npz.")] = "labels",
    encoding: Annotated[
        str, typer.Option(help="Of OUT: signed (1, -1, 0=hidden), missing (1, 0, -1), nan.")
    ] = "signed",
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Attacks a file of 0/1 labels; writes what is left, and a manifest of what was removed."""
    from labelattack.attacks import registry as attacks
    from labelattack.attacks.manifest import manifest as account_of
    from labelattack.errors import LabelError
    from labelattack.labels import LabelTable, read_labels, write_labels

    load_plugins(plugin)
    chosen = attacks.create(attack)
    table = read_labels(labels, "binary", array=array)
    attacked = chosen(table.labels.values, seed=seed)
    spec = str(attacks.resolve(attack))
    account = account_of(chosen, spec, seed, table.labels.values, attacked)
    write_labels(out, LabelTable(attacked, table.ids, table.classes), encoding)  # type: ignore[arg-type]
    beside = manifest or out.with_name(out.name + ".manifest.json")
    try:
        beside.write_text(account.model_dump_json() + "\n")
    except OSError as error:
        raise LabelError(f"manifest '{beside}' cannot be written: {error}") from error
    if as_json:
        print_json(account.model_dump_json(exclude={"removed_per_class", "removed_per_image"}))
        return
    rows = [
        ("attack", account.attack),
        ("images x labels", f"{account.images} x {account.labels}"),
        ("positives removed", _of(account.removed_positives, account.positives)),
        ("negatives removed", _of(account.removed_negatives, account.negatives)),
        (
            "all labels removed (q-hat)",
            _of(
                account.removed_positives + account.removed_negatives,
                account.images * account.labels,
            ),
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


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" + (f" ({100 * part / whole:.2f} %)" if whole else "")
