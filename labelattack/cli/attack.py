"""The attack command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelattack.cli._completion import names_of
from labelattack.cli._console import (
    AsJson,
    Device,
    Plugins,
    load_plugins,
    print_json,
    print_table,
    progress_bars,
)
from labelattack.cli._options import expanded

if TYPE_CHECKING:
    from labelattack.attacks.base import Attack
    from labelattack.attacks.knowledge import Knowledge
    from labelattack.attacks.manifest import Manifest
    from labelattack.datasets.base import Progress
    from labelattack.labels import PartialLabels
    from labelattack.registry.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """The attack, and knowledge that it may use beside the labels."""

    attack: Annotated[
        str,
        typer.Option(help="Attack, e.g. targeted:rate=0.4.", autocompletion=names_of("attacks")),
    ] = "targeted"
    seed: Annotated[
        int, typer.Option(min=0, help="Seed; equal seeds give equal labels on every machine.")
    ] = 0
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="positives=SHARE|entries=SHARE",
            help="Labels to remove, whatever the rate: a share of the known positives, or of all "
            "known entries.",
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Images, for attacks that need scores or features: a surrogate is trained on them "
            "with LABELS, in folds.",
        ),
    ] = None
    model: Annotated[
        str, typer.Option(help="Model whose features the surrogate has, for --images.")
    ] = "efficientnet-lite0"
    scores: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Scores of another model for attacks that need some, 0 to 1: .csv or .parquet "
            "whose first column names the image and the others are classes, or .npz.",
        ),
    ] = None
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Written:
    """Files to write."""

    manifest: Annotated[
        Path | None, typer.Option(help="File for the manifest; default: OUT.manifest.json.")
    ] = None
    encoding: Annotated[
        str,
        typer.Option(help="Encoding of OUT: signed (1, -1, 0=hidden), missing (1, 0, -1), nan."),
    ] = "missing"
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Page that shows what the attack did: classes, images, co-occurrence, the label "
            "matrix before and after. FILE.png beside it holds its picture. Needs the extra "
            "'report'.",
        ),
    ] = None


@expanded
def attack(
    labels: Annotated[
        Path, typer.Argument(help="Labels: .csv, .tsv, .parquet, .json, .jsonl, .npy or .npz.")
    ],
    out: Annotated[Path, typer.Option(help="File for the attacked labels: .csv, .npy, .npz.")],
    attacker: Attacker,
    written: Written,
    array: Annotated[str, typer.Option(help="Name of the matrix in an .npz.")] = "labels",
    labels_encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of LABELS: binary (1, 0), or one of the above where some are unknown."
        ),
    ] = "binary",
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Attacks a file of labels; writes the remaining labels and a manifest of the removal.

    For example: `labelattack attack labels.csv --attack targeted:rate=0.4 --out attacked.csv`
    """
    from labelattack.attacks import registry as attacks
    from labelattack.attacks.manifest import manifest as account_of
    from labelattack.attacks.sets import check_single
    from labelattack.files.label_files import manifest_beside
    from labelattack.files.storage import saved
    from labelattack.labels import LabelTable, check_encoding, read_labels, write_labels

    load_plugins(plugin)
    check_encoding(written.encoding)
    beside = written.manifest or manifest_beside(out)
    _check_places(labels, out, beside, written.encoding)
    pages = _report_places(written.report, labels, out, beside)
    check_single(attacker.attack)
    chosen = attacks.create(attacker.attack)
    table = read_labels(labels, labels_encoding, array=array)  # type: ignore[arg-type]
    clean = table.labels.named(table.ids, table.classes)
    used, left = _attacked(chosen, clean, attacker, str(labels), as_json)
    spec = str(_with_strength(attacks.resolve(attacker.attack), chosen, used))
    account = account_of(used, spec, attacker.seed, clean, left).model_copy(
        update={"encoding": written.encoding}
    )
    write_labels(out, LabelTable(left, table.ids, table.classes), written.encoding)  # type: ignore[arg-type]
    with saved(beside, "manifest") as part:
        part.write_text(account.model_dump_json() + "\n", encoding="utf-8")
    rows = _counts(account)
    if written.report is not None:
        from labelattack.benchmark.report.html.label_page import write_label_page

        facts = [*rows[:1], ("seed", str(attacker.seed)), *rows[1:]]
        write_label_page(written.report, facts, clean, left, table.classes)
    if as_json:
        print_json(account.model_dump_json(exclude={"removed_per_class", "removed_per_image"}))
        return
    places = ", ".join(map(str, (f"{out} ({written.encoding})", beside, *pages)))
    print_table("", ("", ""), [*rows, ("written", places)])


def _with_strength(spec: Spec, asked: Attack, used: Attack) -> Spec:
    """The spec of an attack with the parameters that a budget set."""
    from labelattack.registry.spec import Spec

    names = [name for name, _ in spec.params if getattr(asked, name) != getattr(used, name)]
    return Spec.of(spec.name, dict(spec.params) | {name: getattr(used, name) for name in names})


def _attacked(
    attack: Attack, labels: PartialLabels, how: Attacker, file: str, quiet: bool
) -> tuple[Attack, PartialLabels]:
    """The attack as it was used, and the labels that it left."""
    from labelattack.attacks.budget import Budget, at_budget

    budget = None if how.budget is None else Budget.parse(how.budget)
    with progress_bars(quiet=quiet) as progress:
        knowledge = _knowledge(labels, how, file, progress)
        if budget is None:
            return attack, attack(labels, seed=how.seed, knowledge=knowledge)
        return at_budget(attack, budget, labels, seed=how.seed, knowledge=knowledge)


def _knowledge(labels: PartialLabels, how: Attacker, file: str, progress: Progress) -> Knowledge:
    """Knowledge that options give, computed when the attack reads it."""
    from labelattack.attacks.knowledge import Knowledge
    from labelattack.errors import LabelError
    from labelattack.labels.side_lookup import table_of

    found = Knowledge()
    if how.images is not None:
        from labelattack.datasets.image_folders import images_in
        from labelattack.datasets.split import Split
        from labelattack.models import registry as models
        from labelattack.training.compute import Compute
        from labelattack.training.surrogate import knowledge_of_images

        if labels.ids is None:
            raise LabelError(f"--images needs labels whose rows have names, got '{file}' without")
        split = Split(images_in([how.images], labels.ids, file), labels, labels.ids)
        compute = Compute(how.device, progress=progress)
        found = knowledge_of_images(split, models.resolve(how.model), compute)
    if how.scores is not None:
        path = str(how.scores)
        found = Knowledge(
            {**found.sources, "scores": lambda: table_of("scores", path, labels, "--scores")}
        )
    return found


def _counts(account: Manifest) -> list[tuple[str, str]]:
    """Names and texts of the counts of a manifest, the attack first."""
    known = account.positives + account.negatives
    lost = "changed" if account.changed else "removed"
    of_all = "all known labels" if account.unknown else "all labels"
    return [
        ("attack", account.attack),
        ("images x labels", f"{account.images} x {account.labels}"),
        *([("known before", _of(known, known + account.unknown))] if account.unknown else []),
        (f"positives {lost}", _of(account.removed_positives, account.positives)),
        (f"negatives {lost}", _of(account.removed_negatives, account.negatives)),
        (
            f"{of_all} {lost} (q-hat)",
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
