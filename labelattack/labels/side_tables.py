"""Side tables: knowledge of images and classes that lies beside the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError


@dataclass(frozen=True, eq=False)
class SideTables:
    """Knowledge of the training images and of the classes, beside the labels; each may be absent.

    Attributes:
        scores: Score of each label by another model, in [0, 1], float32 ``[images, labels]``.
        priors: Share of images that have each label, in [0, 1], float64 ``[labels]``.
        groups: Patient, recording, location ... of each image.
        parents: Position of the label that each label implies, int64 ``[labels]``; -1 for none.
    """

    scores: NDArray[np.float32] | None = None
    priors: NDArray[np.float64] | None = None
    groups: tuple[str, ...] | None = None
    parents: NDArray[np.int64] | None = None

    def only(self, names: Collection[str]) -> SideTables:
        """The tables of these names; the others are absent."""
        return SideTables(**{name: value for name, value in self._given() if name in names})

    def take(self, rows: NDArray[np.int64]) -> SideTables:
        """The same for the given training images, in that order."""
        return replace(
            self,
            scores=None if self.scores is None else self.scores[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )

    def check(self, images: int, labels: int) -> None:
        """Checks that there is a number for each image and label.

        Raises:
            LabelError: If a table has another shape, or a share is not in [0, 1].
        """
        shapes = {"scores": (images, labels), "priors": (labels,), "parents": (labels,)}
        for name, value in self._given():
            shape = (len(value),) if name == "groups" else value.shape
            if shape != (wanted := shapes.get(name, (images,))):
                raise LabelError(f"side table {name} must have shape {wanted}, got {shape}")
            if name in ("scores", "priors") and not ((value >= 0) & (value <= 1)).all():
                raise LabelError(f"side table {name} must have values in [0, 1], got others")

    def digest(self) -> str:
        """Hash of all tables; empty if there is none."""
        parts = hashlib.sha256()
        given = self._given()
        for name, value in given:
            content = "\n".join(value).encode() if name == "groups" else value.tobytes()
            parts.update(name.encode() + content)
        return parts.hexdigest()[:16] if given else ""

    def _given(self) -> list[tuple[str, Any]]:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in values if value is not None]


NO_SIDE_TABLES = SideTables()
"""Nothing is known beside the labels."""
