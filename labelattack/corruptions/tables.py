"""Tables of strengths that corruptions belong to."""

from __future__ import annotations

from typing import Literal

Table = Literal["imagenet-c", "cifar-10-c"]
TABLES: tuple[Table, ...] = ("imagenet-c", "cifar-10-c")
SEVERITIES = (1, 2, 3, 4, 5)
