"""Samples of attacked labels: those that each attack leaves of a few images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from labelattack.attacks import registry as attacks
from labelattack.benchmark.boards.keys import dataset_name
from labelattack.benchmark.execution.context import attacked_labels
from labelattack.benchmark.report.label_difference import (
    States,
    class_counts,
    matrix_sample,
    remarks,
    sample_images,
    states,
)
from labelattack.benchmark.store.record import Record
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Splits
from labelattack.datasets.limit import limited
from labelattack.errors import LabelAttackError
from labelattack.labels import PartialLabels
from labelattack.labels.storage import IntArray
from labelattack.training.compute import ONE_CPU
from labelattack.training.hardware import torch_settings_kept

IMAGES, LABELS, ATTACKS = 40, 80, 24
"""Largest numbers of images, labels and attacks shown."""
MATRIX_IMAGES, MATRIX_LABELS = 100, 40
"""Largest numbers of images and labels of the sorted label matrix."""
_LETTERS = np.array(list("?NPnpCA"))  # by State


@dataclass(frozen=True)
class Panel:
    """The labels as one attack leaves them.

    Attributes:
        attack: Spec as people read it.
        seed: Seed of the draw.
        states: A text for each image with a letter for each label: ``P`` and ``N`` are positives
            and negatives that are known, ``p`` and ``n`` those that are hidden, ``C`` an entry of
            another value than before, ``A`` one that is known after the attack only, ``?`` one
            that nobody knew to begin with.
        shares: Share of its positives that each class of the sorted matrix lost, in [0, 1]; None
            without positives.
        matrix: States of the sorted matrix, likewise.
    """

    attack: str
    seed: int
    states: list[str]
    shares: list[float | None]
    matrix: list[str]


@dataclass(frozen=True)
class LabelSample:
    """The labels of a training split, before and after each attack.

    Attributes:
        dataset: Spec as people read it.
        images: Names of the first images.
        classes: Names of the first labels.
        sorted_images: Names of images evenly spaced in the order of number of positives and
            pattern, the rows of the sorted matrix.
        frequent: Names of the labels with most positives, its columns.
        panels: Clean labels first.
        remarks: What is not shown, and why.
    """

    dataset: str
    images: list[str]
    classes: list[str]
    sorted_images: list[str]
    frequent: list[str]
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
    groups: dict[tuple[str, int | None, str], dict[str, Record]] = {}
    for record in sorted(records, key=lambda r: (r.cell.seed, r.removal is None)):
        cell = record.cell
        group = groups.setdefault((cell.dataset, cell.limit, cell.fingerprint), {})
        if cell.attack != "none":
            group.setdefault(cell.attack, record)
    return [
        _excerpt(dataset, limit, fingerprint, [found[attack] for attack in sorted(found)])
        for (dataset, limit, fingerprint), found in groups.items()
        if found
    ]


def _excerpt(
    dataset: str, limit: int | None, fingerprint: str, records: list[Record]
) -> LabelSample:
    name = datasets.short(dataset_name(dataset))
    try:
        splits = _load(dataset, limit)
    except Exception as error:  # a plug-in may raise anything
        return _nothing(name, f"'{name}' is not to be had here: {_told(error)}")
    if splits.fingerprint != fingerprint:
        return _nothing(
            name, f"'{name}' on this machine is not the copy that was used (other fingerprint)"
        )
    clean = splits.train.partial
    columns = class_counts(clean, clean).by_frequency()[:MATRIX_LABELS]
    rows = sample_images(clean, columns, MATRIX_IMAGES)
    title = "clean labels" if clean.is_complete else "known labels"
    panels, told = [_panel(title, 0, clean, clean, rows, columns)], []
    for record in records[:ATTACKS]:
        attack, seed = attacks.short(record.cell.attack), record.cell.seed
        try:
            attacked = _attacked(record, splits)
        except Exception as error:  # a plug-in may raise anything
            told.append(f"'{attack}' is not shown: {_told(error)}")
            continue
        known = record.removal and record.removal.attacked_labels
        if known and known != attacked.digest():
            told.append(f"'{attack}' is not shown: it gives other labels here than recorded")
            continue
        panels.append(_panel(attack, seed, clean, attacked, rows, columns))
    ids, classes = splits.train.ids, splits.classes
    return LabelSample(
        name, list(ids[:IMAGES]), list(classes[:LABELS]), [ids[n] for n in rows],
        [classes[n] for n in columns], panels, told + _left_out(len(records), clean.shape),
    )  # fmt: skip


def _nothing(name: str, reason: str) -> LabelSample:
    return LabelSample(name, [], [], [], [], [], [reason])


def _left_out(found: int, shape: tuple[int, int]) -> list[str]:
    """Remarks on what is not shown of the attacks and of the label matrix."""
    told = []
    if found > ATTACKS:
        told.append(f"the first {ATTACKS} of {found} attacks")
    if shape[0] > IMAGES:
        told.append(f"the first {IMAGES} of {shape[0]} training images")
    if shape[1] > LABELS:
        told.append(f"the first {LABELS} of {shape[1]} labels")
    return told + remarks(shape, MATRIX_IMAGES, MATRIX_LABELS, "sorted labels")


def _load(dataset: str, limit: int | None) -> Splits:
    if not datasets.at_hand(name := dataset.partition(":")[0]):
        raise LabelAttackError(f"dataset '{name}' is unknown without its plug-in (--plugin)")
    splits = datasets.create(dataset).load()
    return splits if limit is None else limited(splits, limit)


def _attacked(record: Record, splits: Splits) -> PartialLabels:
    cell = record.cell
    if not attacks.at_hand(name := cell.attack.partition(":")[0]):
        raise LabelAttackError(f"attack '{name}' is unknown without its plug-in (--plugin)")
    with torch_settings_kept():
        return attacked_labels(cell, ONE_CPU).labels


def _panel(
    attack: str,
    seed: int,
    before: PartialLabels,
    after: PartialLabels,
    rows: IntArray,
    columns: IntArray,
) -> Panel:
    """A panel of the first images, and of the given images and classes."""
    first = states(before.take(slice(IMAGES)), after.take(slice(IMAGES)))[:, :LABELS]
    shares = class_counts(before, after).shares()
    matrix = matrix_sample(before, after, columns, rows).after
    return Panel(attack, seed, _letters(first), [shares[n] for n in columns], _letters(matrix))


def _letters(found: States) -> list[str]:
    """A text for each image with the letter of each label's state."""
    return ["".join(row) for row in _LETTERS[found]]


def _told(error: Exception) -> str:
    own = isinstance(error, LabelAttackError)
    return str(error) if own else f"{type(error).__name__}: {error}"
