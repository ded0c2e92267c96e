"""Picture of what an attack did to labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelattack.benchmark.report.label_difference import (
    ClassCounts,
    MatrixSample,
    State,
    class_counts,
    cooccurrence,
    matrix_sample,
    positives_per_image,
    remarks,
    sample_images,
)
from labelattack.labels import PartialLabels
from labelattack.labels.picture import COLOURS
from labelattack.labels.storage import IntArray
from labelattack.measures._d_score.plots import empty_figure, plain

CLASSES, MATRIX_IMAGES, MATRIX_CLASSES = 40, 400, 120
"""Largest numbers of classes with names, and of images and classes in the picture of the matrix."""

# Told apart by brightness too, so that they are by colour-blind eyes and on paper.
STATES = {
    State.POSITIVE: ("known positive", COLOURS["positive"]),
    State.NEGATIVE: ("known negative", COLOURS["negative"]),
    State.HIDDEN_POSITIVE: ("hidden, was positive", "#D55E00"),
    State.HIDDEN_NEGATIVE: ("hidden, was negative", "#F5CF8E"),
    State.CHANGED: ("changed", "#000000"),
    State.ADDED: ("known after the attack only", "#009E73"),
    State.UNKNOWN: ("not known to begin with", COLOURS["hidden"]),
}
"""Name and colour of each state, in the order of a legend."""
_HEAT, _DIFFERENCE = "cividis", "PuOr"
_LONGEST_NAME = 24


def difference_figure(
    before: PartialLabels, after: PartialLabels, classes: list[str], title: str
) -> tuple[Any, list[str]]:
    """Draws classes, images, co-occurrence and the label matrix before and after an attack.

    Args:
        before: Labels before the attack.
        after: Labels after it.
        classes: Name of each class.
        title: Above the picture.

    Returns:
        A matplotlib figure, and remarks on what it leaves out.
    """
    counts = class_counts(before, after)
    frequent = counts.by_frequency()
    named, columns = frequent[:CLASSES], frequent[:MATRIX_CLASSES]
    names = [_short(name) for name in classes]
    figure = empty_figure(13, 16.5)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[3.8, 5.2, 7.5])
    bars, images = top.subplots(1, 2, width_ratios=[2, 1])
    _draw_shares(bars, counts, named, names)
    _draw_images(images, positives_per_image(before, after))
    _draw_cooccurrence(middle, before, after, named, names)
    chosen = sample_images(before, columns, MATRIX_IMAGES)
    sample = matrix_sample(before, after, columns, chosen)
    _draw_matrix(bottom, sample, names, before.shape)
    figure.suptitle(plain(title), fontsize=12)
    return figure, [
        *remarks((0, before.shape[1]), 0, CLASSES, "shares and co-occurrence in the picture"),
        *remarks(before.shape, MATRIX_IMAGES, MATRIX_CLASSES, "label matrix"),
    ]


def _draw_shares(panel: Any, counts: ClassCounts, named: IntArray, names: list[str]) -> None:
    """Bars of the share of positives removed from each class, the largest first."""
    shares, wanted = counts.shares(), set(named.tolist())
    order = [n for n in counts.by_share() if n in wanted]
    places = range(len(order))
    # A class without positives has no share and no bar.
    heights = [np.nan if (share := shares[n]) is None else 100 * share for n in order]
    panel.bar(places, heights, color=STATES[State.HIDDEN_POSITIVE][1])
    panel.set_xticks(places, [names[n] for n in order], rotation=90, fontsize=_size(len(order)))
    panel.set_xlim(-0.6, max(len(order), 1) - 0.4)
    panel.set_ylim(0, 100)
    panel.set_ylabel("% of its positives removed")
    panel.grid(axis="y", alpha=0.3)
    panel.set_title("classes, by share removed", fontsize=10)


def _draw_images(panel: Any, counts: IntArray) -> None:
    """Histogram of the number of positives of an image before and after."""
    places = np.arange(counts.shape[1])
    panel.bar(places - 0.2, counts[0], width=0.4, color=STATES[State.POSITIVE][1], label="before")
    panel.bar(places + 0.2, counts[1], width=0.4, color="#E69F00", label="after")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_xlabel("known positives of an image")
    panel.set_ylabel("images")
    panel.grid(axis="y", alpha=0.3)
    panel.legend(fontsize=9)
    without = f"without any: {counts[0, 0]:,} before, {counts[1, 0]:,} after"
    panel.set_title(f"images by number of positives\n({without})", fontsize=10)


def _draw_cooccurrence(
    place: Any, before: PartialLabels, after: PartialLabels, named: IntArray, names: list[str]
) -> None:
    """Heat maps of the images in which two classes are positive, and of their difference."""
    from matplotlib.colors import LogNorm, SymLogNorm

    had, has = cooccurrence(before, named), cooccurrence(after, named)
    panels = place.subplots(1, 3, sharey=True)
    most = max(int(had.max(initial=0)), int(has.max(initial=0)), 2)
    counted: Any = None
    for panel, values, when in zip(panels, (had, has), ("before", "after"), strict=False):
        shown = np.ma.masked_equal(values, 0)
        counted = panel.imshow(shown, cmap=_HEAT, norm=LogNorm(1, most), interpolation="nearest")
        panel.set_title(f"images with both classes, {when}", fontsize=10)
    _draw_scale(place, counted, panels[:2], "images (none: white)", _powers(most))
    furthest = max(int(np.abs(has - had).max(initial=0)), 2)
    norm = SymLogNorm(1, vmin=-furthest, vmax=furthest, base=10)
    changed = panels[2].imshow(has - had, cmap=_DIFFERENCE, norm=norm, interpolation="nearest")
    panels[2].set_title("after minus before", fontsize=10)
    marks = _powers(furthest)
    _draw_scale(place, changed, panels[2], "images", [*(-n for n in marks), 0, *marks])
    for panel in panels:
        size, told = _size(len(named)), [names[n] for n in named]
        panel.set_xticks(range(len(named)), told, rotation=90, fontsize=size)
        panel.set_yticks(range(len(named)), told, fontsize=size)


def _draw_scale(place: Any, drawn: Any, panels: Any, label: str, marks: list[int]) -> None:
    """Adds the scale of a heat map of counts, marked in whole numbers."""
    scale = place.colorbar(
        drawn, ax=panels, label=label, ticks=marks, format="{x:,.0f}", shrink=0.7, pad=0.01
    )
    scale.minorticks_off()


def _powers(most: int) -> list[int]:
    """Powers of ten below half of a count, and the count."""
    powers = [10**n for n in range(len(str(most)))]
    return [power for power in powers if 2 * power <= most] + [most]


def _draw_matrix(
    place: Any, sample: MatrixSample, names: list[str], shape: tuple[int, int]
) -> None:
    """The label matrix before and after, with a legend of the states that occur."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    colours = ListedColormap([STATES[state][1] for state in State])
    panels = place.subplots(1, 2, sharey=True)
    rows, columns = sample.before.shape
    whole = f"{rows} images" if rows == shape[0] else f"{rows} of {shape[0]:,} images"
    for panel, values, when in zip(
        panels, (sample.before, sample.after), ("before", "after"), strict=True
    ):
        if values.size:
            panel.imshow(
                values, cmap=colours, vmin=-0.5, vmax=len(State) - 0.5, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
        panel.set_title(f"labels {when}", fontsize=10)
        panel.set_yticks([])
        if columns <= CLASSES:
            told = [names[n] for n in sample.classes]
            panel.set_xticks(range(columns), told, rotation=90, fontsize=_size(columns))
        else:
            panel.set_xticks([])
            panel.set_xlabel(f"{columns} classes, the most frequent first")
    panels[0].set_ylabel(f"{whole}, those with most positives on top")
    there = {int(n) for values in (sample.before, sample.after) for n in np.unique(values)}
    key = [
        Patch(facecolor=colour, edgecolor="0.6", label=name)
        for state, (name, colour) in STATES.items()
        if int(state) in there
    ]
    if key:
        place.legend(handles=key, loc="outside lower center", ncols=4, fontsize=9)


def _size(count: int) -> float:
    """Size of the names of so many classes beside each other."""
    return 9 if count <= 12 else 7 if count <= 25 else 6


def _short(name: str) -> str:
    return plain(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")
