"""Manifests: exact counts of the labels that an attack removed."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from labelattack.attacks.base import Attack
from labelattack.labels import BoolArray, Encoding, PartialLabels
from labelattack.labels.storage import IntArray


class Manifest(BaseModel):
    """Exact account of one attack on one label matrix.

    Attributes:
        attack: Resolved spec of the attack.
        seed: Seed of the attack.
        images: Number of rows.
        labels: Number of columns.
        unknown: Entries that were not known before the attack either; all else counts known ones.
        positives: Positives before the attack, ``t_p`` in the paper.
        negatives: Negatives before the attack, ``t_n``.
        removed_positives: Positives hidden, or changed to negative.
        removed_negatives: Negatives hidden, or changed to positive.
        changed: Of these, labels that were changed and not hidden.
        requested_rate: The attack's ``rate``, None if it has none.
        rate_of: Population of which that rate is a share.
        realised_rate: Share of ``rate_of`` actually removed; None if there were none, or if the
            labels alone do not tell (groups, targets).
        positives_removed: Share of positives removed, in [0, 1]; None without positives.
        q_hat: Share of all known labels removed, in [0, 1] (the paper's q-hat, Section III-A).
        emptied_images: Number of images that lost all their positives.
        removed_per_class: Removed positives and negatives of each class.
        removed_per_image: Labels removed from each image.
        encoding: [Encoding][labelattack.labels.encoding.Encoding] of the attacked label file; None
            if there is no file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    seed: int
    images: int
    labels: int
    unknown: int = Field(default=0, exclude_if=lambda count: not count)
    positives: int
    negatives: int
    removed_positives: int
    removed_negatives: int
    changed: int = Field(default=0, exclude_if=lambda count: not count)
    requested_rate: float | None
    rate_of: str
    realised_rate: float | None
    positives_removed: float | None
    q_hat: float | None
    emptied_images: int
    removed_per_class: list[tuple[int, int]]
    removed_per_image: list[int]
    encoding: Encoding | None = None


def manifest(
    attack: Attack,
    spec: str,
    seed: int,
    clean: BoolArray | PartialLabels,
    attacked: PartialLabels,
) -> Manifest:
    """Counts the labels that an attack removed.

    Args:
        attack: The attack.
        spec: Its resolved spec.
        seed: Seed of the attack.
        clean: Labels before the attack, bool ``[images, labels]`` where all are known.
        attacked: The partial labels that remain.
    """
    before = clean if isinstance(clean, PartialLabels) else PartialLabels.full(clean, copy=False)
    lost_positive, lost_negative, of_image, changed = _lost(attack, before, attacked)
    known, positives = before.known, before.known_positives
    removed_positives, removed_negatives = int(lost_positive.sum()), int(lost_negative.sum())
    there = before.per_image()
    stripped = int(np.count_nonzero((there > 0) & (of_image == there)))
    realised = {
        # A corruption may count in positives what it adds.
        "positives": _share(changed or removed_positives, positives),
        "negatives": _share(removed_negatives, known - positives),
        "labels": _share(removed_positives + removed_negatives, known),
        "images": _share(stripped, len(there)),
    }
    emptied = (before.per_image("positives") > 0) & (attacked.per_image("positives") == 0)
    return Manifest(
        attack=spec,
        seed=seed,
        images=before.shape[0],
        labels=before.shape[1],
        unknown=before.shape[0] * before.shape[1] - known,
        positives=positives,
        negatives=known - positives,
        removed_positives=removed_positives,
        removed_negatives=removed_negatives,
        changed=changed,
        requested_rate=getattr(attack, "rate", None),
        rate_of=attack.rate_of,
        realised_rate=realised.get(attack.rate_of),
        positives_removed=_share(removed_positives, positives),
        q_hat=realised["labels"],
        emptied_images=int(np.count_nonzero(emptied)),
        removed_per_class=list(zip(lost_positive.tolist(), lost_negative.tolist(), strict=True)),
        removed_per_image=of_image.tolist(),
    )


def _lost(
    attack: Attack, before: PartialLabels, after: PartialLabels
) -> tuple[IntArray, IntArray, IntArray, int]:
    """Positives and negatives lost of each class, labels lost of each image, and labels changed."""
    if attack.changes:
        flipped = before.known_values ^ after.known_values
        positive = flipped & before.known_values
        return (
            before.per_class(positive),
            before.per_class(flipped & ~positive),
            before.per_image(flipped),
            int(np.count_nonzero(flipped)),
        )
    # Entries only disappear, so counts before and after tell what was removed.
    lost_positive = before.per_class("positives") - after.per_class("positives")
    lost = before.per_class() - after.per_class()
    return lost_positive, lost - lost_positive, before.per_image() - after.per_image(), 0


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
