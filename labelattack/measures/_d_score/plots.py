"""Pictures of where models look; PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelattack.datasets.base import Split
from labelattack.errors import StoreError, printable
from labelattack.files.storage import saved
from labelattack.measures._d_score.distributions import AblationLogits
from labelattack.measures.d_score import Diagnosis

_HEAT = "cividis"  # perceptually uniform, and the same for colour-blind eyes
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX*<>ph"


class Point(NamedTuple):
    """One defense under one attack in the scatter; half-widths are None where unknown."""

    attack: str
    defense: str
    robustness: float
    fitness: float
    robustness_interval: float | None
    fitness_interval: float | None


def draw_distributions(
    path: Path, found: Diagnosis, title: str, *, boxes: Sequence[float] | None = None
) -> None:
    """Attention and feature distribution over the grid, side by side on one scale.

    Args:
        path: Where the PNG goes.
        found: The diagnosis.
        title: Above the picture.
        boxes: Share of ground-truth box mass in each cell, as a third panel.

    Raises:
        StoreError: If the file cannot be written.
    """
    panels = [("attention A", found.attention), ("feature distribution F", found.features)]
    if boxes is not None:
        panels.append(("ground-truth boxes", list(boxes)))
    highest = max((max(values) for _, values in panels if values is not None), default=1.0)
    figure, axes = _figure(len(panels), width=3.4, height=3.9)
    image = None
    for axis, (name, values) in zip(axes, panels, strict=True):
        axis.set_title(name, fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
        if values is None:
            axis.text(0.5, 0.5, "undefined", ha="center", va="center", transform=axis.transAxes)
            continue
        square = 100 * np.reshape(values, (found.rows, found.columns))
        image = axis.imshow(square, vmin=0, vmax=100 * highest, cmap=_HEAT)
        for (row, column), value in np.ndenumerate(square):
            colour = "black" if value > 60 * highest else "white"
            axis.text(
                column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=colour
            )
    if image is not None:
        figure.colorbar(image, ax=axes, label="% of the whole", shrink=0.8)
    parts = [
        f"{name} {'undefined' if value is None else f'{value:.3f}'}"
        for name, value in (
            ("robustness", found.robustness),
            ("fitness", found.fitness),
            ("D-Score", found.d_score),
        )
    ]
    figure.suptitle(f"{plain(title)}\n{', '.join(parts)}", fontsize=11)
    save_figure(figure, path)


def draw_deletions(
    path: Path,
    looks: AblationLogits,
    test: Split,
    classes: Sequence[str],
    found: Diagnosis,
    title: str,
    *,
    examples: int = 6,
) -> None:
    """Example images, and what deleting each cell costs the labels that they have.

    Args:
        path: Where the PNG goes.
        looks: Logits with cells deleted.
        test: The same images.
        classes: Name of each label.
        found: The diagnosis; gives the grid.
        title: Above the picture.
        examples: Images shown: the first that have a label.

    Raises:
        StoreError: If the file cannot be written.
    """
    rows = np.flatnonzero(test.labels.any(axis=1))[:examples]
    lost = looks.whole[None] - looks.deleted
    maps = [lost[:, row][:, test.labels[row]].mean(axis=1) for row in rows]
    highest = max(float(np.abs(m).max()) for m in maps) or 1.0
    figure, axes = _figure(len(rows), width=2.1, height=5.2, rows=2)
    image = None
    for column, (row, values) in enumerate(zip(rows, maps, strict=True)):
        pixels = test.images[int(row)]
        names = ", ".join(
            name for name, there in zip(classes, test.labels[row], strict=True) if there
        )
        height, width = pixels.shape[:2]
        for axis in (axes[column], axes[len(rows) + column]):
            axis.imshow(pixels, extent=(0, width, height, 0))
            axis.set_xticks([])
            axis.set_yticks([])
        axes[column].set_title(plain(_wrapped(names)), fontsize=9)
        image = axes[len(rows) + column].imshow(
            values.reshape(found.rows, found.columns),
            extent=(0, width, height, 0), cmap="PuOr_r", vmin=-highest, vmax=highest, alpha=0.75,
        )  # fmt: skip
    if image is not None:
        figure.colorbar(image, ax=axes, label="logit lost when the cell is deleted", shrink=0.8)
    figure.suptitle(plain(title), fontsize=11)
    save_figure(figure, path)


def draw_scatter(path: Path, points: Sequence[Point], title: str) -> None:
    """Robustness against fitness, with lines of equal D-Score.

    Args:
        path: Where the PNG goes.
        points: What to show; bars are their intervals.
        title: Above the picture.

    Raises:
        StoreError: If the file cannot be written.
    """
    figure, (axis,) = _figure(1, width=8.5, height=5.2)
    attacks = list(dict.fromkeys(p.attack for p in points))
    defenses = list(dict.fromkeys(p.defense for p in points))
    for point in points:
        axis.errorbar(
            point.robustness,
            point.fitness,
            xerr=point.robustness_interval,
            yerr=point.fitness_interval,
            color=_COLOURS[attacks.index(point.attack) % len(_COLOURS)],
            marker=_MARKERS[defenses.index(point.defense) % len(_MARKERS)],
            markersize=8,
            elinewidth=0.8,
            capsize=2,
            linestyle="none",
        )
    _draw_levels(axis)
    axis.set_xlabel("robustness (distance from uniform; lower is better)")
    axis.set_ylabel("fitness (higher is better)")
    axis.set_title(plain(title), fontsize=11)
    handles: list[Any] = [
        axis.plot([], [], color=_COLOURS[i % len(_COLOURS)], linewidth=4, label=plain(name))[0]
        for i, name in enumerate(attacks)
    ]
    for i, name in enumerate(defenses):
        mark = _MARKERS[i % len(_MARKERS)]
        handles += axis.plot([], [], color="0.3", marker=mark, linestyle="none", label=plain(name))
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
    save_figure(figure, path)


def _draw_levels(axis: Any) -> None:
    """Draws lines of equal D-Score across what the axes show."""
    axis.margins(0.15)
    x, y = np.array(axis.get_xlim()), np.array(axis.get_ylim())
    levels = np.linspace(y[0] - x[1], y[1] - x[0], 8)[1:-1]
    for level in levels:
        axis.plot(x, x + level, color="0.75", linewidth=0.8, zorder=0)
        # Written inside the axes, where the line meets the right or the upper edge.
        at = x[1] if x[1] + level <= y[1] else y[1] - level
        axis.annotate(
            f"D = {level:.2f}", (at, at + level), color="0.4", fontsize=8, ha="right", va="top",
            xytext=(-3, -3), textcoords="offset points",
        )  # fmt: skip
    axis.set_xlim(x)
    axis.set_ylim(y)


def plain(text: str) -> str:
    """Text that is drawn as it is, whatever formulas or control characters a name holds."""
    return printable(text).replace("$", r"\$")


def empty_figure(width: float, height: float) -> Any:
    """A figure of its own, in inches, which no window and no backend of the caller's knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure whole or not at all, in the format that the path's suffix names, else PNG.

    Raises:
        StoreError: If it cannot be written, or there is no such format.
    """
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    kind = path.suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise StoreError(f"picture '{path}' must end in .{', .'.join(sorted(known))}")
    with saved(path, "picture") as part:
        figure.savefig(part, format=kind)


def _figure(columns: int, *, width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    figure = empty_figure(max(width * columns, 5.5), height)
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _wrapped(text: str, width: int = 22) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:2])
