"""Manifests: exact counts of the labels that an attack removed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from labelattack.attacks.base import LabelAttack
from labelattack.labels import BoolArray, Encoding, PartialLabels


class Manifest(BaseModel):
    """Exact account of one attack on one label matrix.

    Attributes:
        attack: Resolved spec of the attack.
        seed: Seed of the attack.
        images: Number of rows.
        labels: Number of columns.
        positives: Clean positives, ``t_p`` in the paper.
        negatives: Clean negatives, ``t_n``.
        removed_positives: Positives hidden.
        removed_negatives: Negatives hidden.
        requested_rate: The attack's ``rate``, None if it has none.
        rate_of: Population of which that rate is a share.
        realised_rate: Share of ``rate_of`` actually removed; None if there were none.
        positives_removed: Share of positives removed, in [0, 1]; None without positives.
        q_hat: Share of all labels removed, in [0, 1] (the paper's q-hat, Section III-A).
        emptied_images: Number of images that lost all their positives.
        removed_per_class: Removed positives and negatives of each class.
        removed_per_image: Labels removed from each image.
        encoding: [Encoding][labelattack.labels.Encoding] of the attacked label file; None
            if there is no file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attack: str
    seed: int
    images: int
    labels: int
    positives: int
    negatives: int
    removed_positives: int
    removed_negatives: int
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
    attack: LabelAttack, spec: str, seed: int, clean: BoolArray, attacked: PartialLabels
) -> Manifest:
    """Counts the labels that an attack removed.

    Args:
        attack: The attack.
        spec: Its resolved spec.
        seed: Seed of the attack.
        clean: Clean labels, bool ``[images, labels]``.
        attacked: The partial labels that remain.

    Returns:
        The manifest.
    """
    lost_positive = clean & attacked.hidden
    lost_negative = ~clean & attacked.hidden
    positives, removed = int(clean.sum()), int(attacked.hidden.sum())
    positive_share = _share(int(lost_positive.sum()), positives)
    q_hat = _share(removed, clean.size)
    return Manifest(
        attack=spec,
        seed=seed,
        images=clean.shape[0],
        labels=clean.shape[1],
        positives=positives,
        negatives=clean.size - positives,
        removed_positives=int(lost_positive.sum()),
        removed_negatives=int(lost_negative.sum()),
        requested_rate=getattr(attack, "rate", None),
        rate_of=attack.rate_of,
        realised_rate=positive_share if attack.rate_of == "positives" else q_hat,
        positives_removed=positive_share,
        q_hat=q_hat,
        emptied_images=int((clean.any(axis=1) & ~attacked.positives.any(axis=1)).sum()),
        removed_per_class=list(
            zip(lost_positive.sum(axis=0).tolist(), lost_negative.sum(axis=0).tolist(), strict=True)
        ),
        removed_per_image=attacked.hidden.sum(axis=1).tolist(),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
