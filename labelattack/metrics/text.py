"""Texts of numbers with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def with_interval(
    value: float | None, half_width: float | None, *, signed: bool = False, digits: int = 1
) -> str:
    """``83.1 ± 0.4``; a dash where there is no value."""
    if value is None or value != value:
        return "-"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text if half_width is None else f"{text} ± {half_width:.{digits}f}"


def with_limits(value: float | None, limits: tuple[float, float] | None = None) -> str:
    """``0.831 [0.820, 0.842]``; says undefined where there is no value."""
    if value is None:
        return "undefined"
    return f"{value:.3f}" + ("" if limits is None else f" [{limits[0]:.3f}, {limits[1]:.3f}]")
