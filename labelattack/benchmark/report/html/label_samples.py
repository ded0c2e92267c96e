"""Samples of attacked labels: those that each attack leaves of a few images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.keys import dataset_name
from labelattack.benchmark.execution.context import attacked_labels
from labelattack.benchmark.store.record import Record
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Splits
from labelattack.errors import LabelAttackError
from labelattack.labels import PartialLabels
from labelattack.training.compute import ONE_CPU

IMAGES, LABELS, ATTACKS = 40, 80, 24
"""Largest numbers of images, labels and attacks shown."""


@dataclass(frozen=True)
class Panel:
    """The labels as one attack leaves them.

    Attributes:
        attack: Spec as people read it.
        seed: Seed of the draw.
        states: A text for each image with a letter for each label: ``P`` and ``N`` are positives
            and negatives that are known, ``p`` and ``n`` those that are hidden, ``?`` an entry
            that nobody knew to begin with.
    """

    attack: str
    seed: int
    states: list[str]


@dataclass(frozen=True)
class LabelSample:
    """The first images of a training split, before and after each attack.

    Attributes:
        dataset: Spec as people read it.
        images: Their names.
        classes: Names of the labels.
        panels: Clean labels first.
        remarks: What is not shown, and why.
    """

    dataset: str
    images: list[str]
    classes: list[str]
    panels: list[Panel]
    remarks: list[str]


def label_samples(records: Iterable[Record]) -> list[LabelSample]:
    """Attacks the dataset of some records as they were attacked, if it is on this machine.

    Nothing is shown that is not known to be what the records were computed with: the dataset's
    fingerprint and each attack's labels must be the recorded ones. Plug-ins are used only if they
    were loaded before.

    Args:
        records: Finished and failed records.

    Returns:
        One excerpt for each dataset. Whatever stands in the way becomes a remark.
    """
    groups: dict[tuple[str, str], dict[str, Record]] = {}
    for record in sorted(records, key=lambda r: (r.cell.seed, r.removal is None)):
        cell = record.cell
        group = groups.setdefault((cell.dataset, cell.fingerprint), {})
        if cell.attack != "none":
            group.setdefault(cell.attack, record)
    return [
        _excerpt(dataset, fingerprint, [found[attack] for attack in sorted(found)])
        for (dataset, fingerprint), found in groups.items()
        if found
    ]


def _excerpt(dataset: str, fingerprint: str, records: list[Record]) -> LabelSample:
    name = datasets.short(dataset_name(dataset))
    try:
        splits = _load(dataset)
    except Exception as error:  # a plug-in may raise anything
        return LabelSample(name, [], [], [], [f"'{name}' is not to be had here: {_told(error)}"])
    if splits.fingerprint != fingerprint:
        reason = f"'{name}' on this machine is not the copy that was used (other fingerprint)"
        return LabelSample(name, [], [], [], [reason])
    clean = splits.train.partial
    title = "clean labels" if clean.is_complete else "known labels"
    panels, remarks = [Panel(title, 0, _states(clean, clean))], []
    for record in records[:ATTACKS]:
        attack, seed = attacks.short(record.cell.attack), record.cell.seed
        try:
            attacked = _attacked(record, splits)
        except Exception as error:  # a plug-in may raise anything
            remarks.append(f"'{attack}' is not shown: {_told(error)}")
            continue
        known = record.removal and record.removal.attacked_labels
        if known and known != attacked.digest():
            remarks.append(f"'{attack}' is not shown: it gives other labels here than recorded")
            continue
        panels.append(Panel(attack, seed, _states(clean, attacked)))
    if len(records) > ATTACKS:
        remarks.append(f"the first {ATTACKS} of {len(records)} attacks")
    images, labels = clean.shape
    if images > IMAGES:
        remarks.append(f"the first {IMAGES} of {images} training images")
    if labels > LABELS:
        remarks.append(f"the first {LABELS} of {labels} labels")
    ids, classes = list(splits.train.ids[:IMAGES]), list(splits.classes[:LABELS])
    return LabelSample(name, ids, classes, panels, remarks)


def _load(dataset: str) -> Splits:
    if not datasets.at_hand(name := dataset.partition(":")[0]):
        raise LabelAttackError(f"dataset '{name}' is unknown without its plug-in (--plugin)")
    return datasets.create(dataset).load()


def _attacked(record: Record, splits: Splits) -> PartialLabels:
    cell = record.cell
    if not attacks.at_hand(name := cell.attack.partition(":")[0]):
        raise LabelAttackError(f"attack '{name}' is unknown without its plug-in (--plugin)")
    return attacked_labels(cell, ONE_CPU).labels


def _states(before: PartialLabels, attacked: PartialLabels) -> list[str]:
    """Letters of the first entries: P and N, small where hidden, ``?`` where never known."""
    rows = slice(IMAGES)
    before, attacked = before.take(rows), attacked.take(rows)
    letters = np.where(before.values, "P", "N")
    letters = np.where(attacked.hidden, np.char.lower(letters), letters)
    letters = np.where(before.observed, letters, "?")
    return ["".join(row) for row in letters[:, :LABELS]]


def _told(error: Exception) -> str:
    own = isinstance(error, LabelAttackError)
    return str(error) if own else f"{type(error).__name__}: {error}"
