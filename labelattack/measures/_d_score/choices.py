"""Choices that a D-Score depends on."""

from __future__ import annotations

from typing import Literal

Border = Literal["zero", "edge", "reflect", "wrap"]


MAX_GRID = 7


CHEAP_OPERATOR = "delete-cell"  # for linear heads a matrix product on cached features
