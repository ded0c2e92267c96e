"""D-Score: where a model looks, set against where the evidence is. Pure functions.

The D-Score paper (Zhang et al. 2023, arXiv:2304.00697) publishes the idea and not, where we could
read them, the formulas; the definition here is this project's. Absolute values cannot be compared
with those of other papers.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError
from labelattack.labels import BoolArray
from labelattack.metrics.average_precision import average_precision, chance_map
from labelattack.seeding import bounded

FloatArray = NDArray[np.floating[Any]]
Reals = NDArray[np.float64]
Evidence = Literal["margin", "map"]
Distance = Literal["jensen-shannon", "total-variation"]


class DScore(NamedTuple):
    """The two parts; D-Score is their difference (Table III of the paper) and never stored.

    Attributes:
        robustness: Distance of the attention from uniform, in [0, 1]; lower is better. None if
            undefined, because no cell holds any evidence.
        fitness: 1 - distance of the attention from the feature distribution; higher is better.
    """

    robustness: float | None
    fitness: float | None

    @property
    def value(self) -> float | None:
        """Fitness - robustness, in [-1, 1]; None if either is undefined."""
        if self.robustness is None or self.fitness is None:
            return None
        return self.fitness - self.robustness


def margin(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    weights: FloatArray | None = None,
) -> Reals:
    """Mean score of images that have a label minus that of images that have not, over classes.

    A shift of all scores cancels, so it does not matter what deletion replaces activity with.

    Args:
        scores: float ``[variants, images, labels]``.
        labels: bool ``[images, labels]``.
        scored: Cells that count, bool ``[images, labels]``. Default: all.
        weights: Weight of each image in each resample, ``[resamples, images]``, as in the
            bootstrap. Default: one resample, all weights 1.

    Returns:
        float64 ``[resamples, variants]``, each the mean over the classes that have both positives
        and negatives; NaN if none has.
    """
    variants, images, classes = scores.shape
    if labels.shape != (images, classes) or (scored is not None and scored.shape != labels.shape):
        raise LabelError(
            f"scores and labels must have one shape, got {(images, classes)} and {labels.shape}"
        )
    counts = np.ones((1, images)) if weights is None else np.asarray(weights, dtype=np.float64)
    counted = np.ones_like(labels) if scored is None else scored
    by_image = np.moveaxis(scores, 1, 0).astype(np.float64)
    means = []
    for group in (labels & counted, ~labels & counted):
        total = counts @ (by_image * group[:, None]).reshape(images, variants * classes)
        size = counts @ group
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(total.reshape(-1, variants, classes) / size[:, None])
    difference = means[0] - means[1]
    defined = np.isfinite(difference)
    total = np.where(defined, difference, 0).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Reals = total / defined.sum(axis=2)
    return result


def map_gain(
    scores: FloatArray,
    labels: BoolArray,
    *,
    scored: BoolArray | None = None,
    weights: FloatArray | None = None,
) -> Reals:
    """Gain in mAP over constant scores; arguments and result as of ``margin``.

    Weights must be whole numbers: images are repeated.
    """
    repeats = np.ones((1, scores.shape[1])) if weights is None else weights
    gains = np.empty((len(repeats), len(scores)))
    for resample, counts in enumerate(repeats):
        rows = np.repeat(np.arange(scores.shape[1]), counts.astype(np.int64))
        truth, counted = labels[rows], None if scored is None else scored[rows]
        chance = chance_map(truth, scored=counted)
        for variant, variant_scores in enumerate(scores):
            found = average_precision(variant_scores[rows], truth, scored=counted)
            gains[resample, variant] = np.nanmean(found) - chance if truth.any() else np.nan
    return gains


class AblationLogits(NamedTuple):
    """Logits of images as they are, with patches deleted, and of regions shown alone.

    Attributes:
        whole: Logits, float ``[images, labels]``.
        deleted: Logits without each cell, ``[cells, images, labels]``.
        shifted: Logits from each region alone, shown at one place, ``[regions, images, labels]``;
            None if the feature distribution comes from elsewhere.
    """

    whole: FloatArray
    deleted: FloatArray
    shifted: FloatArray | None


def evidence_in(
    scores: FloatArray,
    labels: BoolArray,
    *,
    evidence: Evidence = "margin",
    scored: BoolArray | None = None,
    weights: FloatArray | None = None,
) -> Reals:
    """Evidence of one kind; arguments and result as of ``margin``."""
    measure = {"margin": margin, "map": map_gain}[evidence]
    return measure(scores, labels, scored=scored, weights=weights)


def distribution(evidence: Reals) -> Reals:
    """Clips at zero and normalises the last axis to sum 1; NaN where nothing is positive."""
    clipped = np.maximum(evidence, 0)
    total = clipped.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Reals = clipped / total
    return result


def distance(first: Reals, second: Reals, kind: Distance = "jensen-shannon") -> Reals:
    """Distance of distributions along the last axis, in [0, 1].

    Args:
        first: Sums to 1 along the last axis.
        second: Likewise; broadcast against ``first``.
        kind: ``jensen-shannon``: square root of the divergence to base 2, a metric;
            ``total-variation``: half the sum of absolute differences.

    Returns:
        0 for equal distributions, 1 for disjoint ones; NaN where either is undefined.
    """
    if kind == "total-variation":
        result: Reals = np.abs(first - second).sum(axis=-1) / 2
        return result
    middle = (first + second) / 2
    divergence = np.zeros(np.broadcast_shapes(first.shape, second.shape)[:-1])
    for part in (first, second):
        with np.errstate(divide="ignore", invalid="ignore"):
            # The ratio is at most 2; the smallest floats have no half and would give infinity.
            terms = np.where(part == 0, 0, part * np.log2(np.minimum(part / middle, 2)))
        divergence = divergence + terms.sum(axis=-1) / 2
    return np.sqrt(np.clip(divergence, 0, 1))


def attention_nonuniformity(attention: Reals, kind: Distance = "jensen-shannon") -> Reals:
    """Distance of the attention from uniform; 0 looks everywhere alike."""
    return distance(attention, np.full(attention.shape[-1], 1 / attention.shape[-1]), kind)


def fitness(attention: Reals, features: Reals, kind: Distance = "jensen-shannon") -> Reals:
    """1 - distance of attention and feature distribution; 1 looks where the evidence is."""
    result: Reals = 1 - distance(attention, features, kind)
    return result


def upsample(values: Reals, measured: tuple[int, int], grid: tuple[int, int], step: int) -> Reals:
    """Fills in cells between those that were measured, linearly; the ends are held.

    Args:
        values: ``[..., measured rows * measured columns]``.
        measured: Rows and columns measured: the first, and every ``step``-th after it.
        grid: Rows and columns wanted.
        step: Distance between measured cells.

    Returns:
        ``[..., rows * columns]``.
    """
    rows, columns = (
        np.array([np.interp(np.arange(n), np.arange(m) * step, e) for e in np.eye(m)]).T
        for m, n in zip(measured, grid, strict=True)
    )
    square = values.reshape(*values.shape[:-1], *measured)
    full: Reals = rows @ square @ columns.T
    return full.reshape(*values.shape[:-1], -1)


def resample_counts(images: int, resamples: int, rng: np.random.Generator) -> Reals:
    """Number of times each image is drawn in each bootstrap resample, ``[resamples, images]``."""
    drawn = bounded(rng, images, resamples * images)
    rows = np.repeat(np.arange(resamples), images)
    counts = np.bincount(rows * images + drawn, minlength=resamples * images)
    return counts.reshape(resamples, images).astype(np.float64)


def bootstrap_interval(
    point: float, resampled: Reals, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Basic (reflected) bootstrap interval.

    Distances between noisy distributions are biased upwards, and a resample is noisier still;
    reflecting the resampled values about the point takes that bias back.

    Args:
        point: Value on all images.
        resampled: Value on each resample; NaN where undefined.
        confidence: Coverage, in (0, 1).

    Returns:
        Lower and upper end; None if more than one resample in twenty is undefined.
    """
    defined = resampled[np.isfinite(resampled)]
    if not len(resampled) or len(defined) < 0.95 * len(resampled) or not np.isfinite(point):
        return None
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(2 * point - high), float(2 * point - low)


def box_density(boxes: NDArray[np.floating[Any]], rows: int, columns: int) -> Reals:
    """Density of objects: each box spread evenly over its area, summed over the boxes.

    Args:
        boxes: Top, left, bottom, right in [0, 1] of the image, float ``[boxes, 4]``.
        rows: Rows of the grid.
        columns: Columns of the grid.

    Returns:
        float64 ``[rows * columns]``, each box having mass 1; all 0 without boxes.
    """
    spans = []
    for low, high, parts in ((boxes[:, 0], boxes[:, 2], rows), (boxes[:, 1], boxes[:, 3], columns)):
        edges = np.arange(parts + 1) / parts
        overlap = np.minimum(edges[1:], high[:, None]) - np.maximum(edges[:-1], low[:, None])
        overlap = np.maximum(overlap, 0)
        spans.append(overlap / np.maximum(overlap.sum(axis=1, keepdims=True), 1e-12))
    density: Reals = np.einsum("nr,nc->rc", *spans).ravel()
    return density
