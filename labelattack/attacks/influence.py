"""Influence of single positives on the held-out loss of linear surrogates.

Koh and Liang 2017, Understanding Black-box Predictions via Influence Functions, for a label that
becomes negative instead of an image that is left out. All numbers are float64.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from labelattack.attacks.knowledge import HeldOut
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.storage import IntArray

Floats = NDArray[np.float64]
Objective = Literal["ranking", "likelihood"]

_ROWS = 4096  # images converted at a time
_MOST_STEPS = 100
_FLAT = 1e-7  # largest gradient of a fit that is done
_BIAS = 1e-3  # of the weight decay; without any, a class without positives has no minimum
_MOST_ITEMS = 1000  # positives, and negatives, of a class in the ranking loss


class Fit(NamedTuple):
    """A fitted surrogate of one class.

    Attributes:
        weights: Weights and bias, float64 ``[dimensions + 1]``.
        hessian: Hessian of its training loss, float64 ``[dimensions + 1, dimensions + 1]``.
    """

    weights: Floats
    hessian: Floats


def inputs_of(
    features: NDArray[np.float32], held_out: NDArray[np.float32], dimensions: int
) -> tuple[Floats, Floats]:
    """Inputs of the surrogates: standardised features on their principal axes, and a constant.

    Axes, means and deviations are those of ``features``. A fit does not depend on the signs of the
    axes, which are arbitrary.

    Args:
        features: Features of the attacked images, float32 ``[images, channels]``.
        held_out: Features of the held-out images, float32 ``[held out, channels]``.
        dimensions: Most axes that are kept, those of the largest variance.

    Returns:
        float64 ``[images, axes + 1]`` and ``[held out, axes + 1]``; the last column is 1.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1

    def parts(some: NDArray[np.float32]) -> list[Floats]:
        blocks = (some[first : first + _ROWS] for first in range(0, len(some), _ROWS))
        return [(block - mean) / deviation for block in blocks]

    channels = features.shape[1]
    axes = np.eye(channels)
    if dimensions < channels:
        product = np.zeros((channels, channels))
        for part in parts(features):
            product += part.T @ part
        axes = np.linalg.eigh(product)[1][:, ::-1][:, :dimensions]

    def projected(some: NDArray[np.float32]) -> Floats:
        found = np.ones((len(some), axes.shape[1] + 1))
        for number, part in enumerate(parts(some)):
            found[number * _ROWS : number * _ROWS + len(part), :-1] = part @ axes
        return found

    return projected(features), projected(held_out)


def penalties(inputs: Floats, l2: float) -> Floats:
    """Weight decay of each weight, and a thousandth of it for the bias, ``[dimensions + 1]``."""
    found = np.full(inputs.shape[1], l2)
    found[-1] *= _BIAS
    return found


def fit(inputs: Floats, targets: BoolArray | Floats, l2: float, start: Fit | None = None) -> Fit:
    """Fits an L2-regularised logistic regression by damped Newton steps.

    The loss is the mean binary cross-entropy plus half the weight decay times the squared weights.

    Args:
        inputs: float64 ``[images, dimensions + 1]``.
        targets: Observed positives, bool ``[images]``, all else counting as negative; or shares of
            positives, float64 in [0, 1].
        l2: Weight decay, above 0.
        start: Fit to nearly the same targets, to start from; None for weights of 0.
    """
    decay = penalties(inputs, l2)
    weights = np.zeros(len(decay)) if start is None else start.weights
    hessian = _hessian(inputs, weights, decay) if start is None else start.hessian

    def loss(some: Floats) -> float:
        scores = inputs @ some
        return float(np.mean(_softplus(scores) - targets * scores) + decay @ some**2 / 2)

    steepest = np.inf
    for _ in range(_MOST_STEPS):
        gradient = inputs.T @ (expit(inputs @ weights) - targets) / len(inputs) + decay * weights
        steep = float(np.abs(gradient).max())
        if steep < _FLAT:
            break
        # Making the Hessian takes longer than all else, so one serves as long as it serves well.
        if steep > steepest / 2:
            hessian = _hessian(inputs, weights, decay)
        steepest = steep
        step, before, scale = np.linalg.solve(hessian, gradient), loss(weights), 1.0
        while scale > _FLAT and loss(weights - scale * step) > before + 1e-12:
            scale /= 2
        weights = weights - scale * step
    return Fit(weights, _hessian(inputs, weights, decay))


def _hessian(inputs: Floats, weights: Floats, decay: Floats) -> Floats:
    share = expit(inputs @ weights)
    scaled = inputs * np.sqrt(share * (1 - share) / len(inputs))[:, None]
    return np.asarray(scaled.T @ scaled + np.diag(decay))


def _softplus(scores: Floats) -> Floats:
    return np.logaddexp(0, scores)


class Damage(NamedTuple):
    """Held-out loss of one class, by which damage is measured.

    Attributes:
        inputs: Inputs of the held-out images, float64 ``[held out, dimensions + 1]``.
        positive: Their positives that count, int64 ``[positives]``.
        negative: Their negatives that count, int64 ``[negatives]``.
        objective: ``ranking`` or ``likelihood``.
    """

    inputs: Floats
    positive: IntArray
    negative: IntArray
    objective: Objective

    def of(self, weights: Floats) -> tuple[float, Floats]:
        """The loss of some weights, and its gradient, float64 ``[dimensions + 1]``."""
        measure = ranking if self.objective == "ranking" else likelihood
        ups, downs = self.inputs[self.positive], self.inputs[self.negative]
        value, up, down = measure(ups @ weights, downs @ weights)
        return value, up @ ups + down @ downs


def damages(inputs: Floats, labels: PartialLabels, objective: Objective) -> list[Damage | None]:
    """Held-out loss of each class; None for one without a known positive and a known negative.

    Where no negative is known at all, hidden entries count as negative. Of more than 1,000
    positives or negatives of a class, the ranking loss takes 1,000 at equal distances.

    Args:
        inputs: Inputs of the held-out images.
        labels: Their labels.
        objective: Which loss.
    """
    positives, negatives = labels.positives, labels.negatives
    if not negatives.any():
        negatives = ~positives
    found: list[Damage | None] = []
    for column in range(labels.shape[1]):
        sides = [np.flatnonzero(some[:, column]) for some in (positives, negatives)]
        if objective == "ranking":
            sides = [_thinned(side) for side in sides]
        there = all(map(len, sides))
        found.append(Damage(inputs, sides[0], sides[1], objective) if there else None)
    return found


def _thinned(rows: IntArray) -> IntArray:
    if len(rows) <= _MOST_ITEMS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _MOST_ITEMS).astype(np.int64)]


def ranking(positive: Floats, negative: Floats) -> tuple[float, Floats, Floats]:
    """Mean of softplus(negative - positive) over pairs of scores, which a common shift keeps.

    Args:
        positive: Scores of positives, float64 ``[positives]``.
        negative: Scores of negatives, float64 ``[negatives]``.

    Returns:
        The loss, and its derivative by each score.
    """
    behind = negative - positive[:, None]
    slope = expit(behind) / behind.size
    return float(_softplus(behind).mean()), -slope.sum(axis=1), slope.sum(axis=0)


def likelihood(positive: Floats, negative: Floats) -> tuple[float, Floats, Floats]:
    """Binary cross-entropy; arguments and results are those of ``ranking``."""
    total = len(positive) + len(negative)
    value = (_softplus(-positive).sum() + _softplus(negative).sum()) / total
    return float(value), -expit(-positive) / total, expit(negative) / total


def influences(inputs: Floats, rows: IntArray, fitted: Fit, damage: Damage) -> Floats:
    """Estimated growth of the held-out loss if one positive becomes a negative.

    Its gradient grows by x / n, so that the weights move by -H⁻¹x / n, and the loss by -g·H⁻¹x / n.
    The image's own curvature is taken as constant, though a positive that is learned well has
    hardly any until it is called negative: of single removals the estimate is about twice too
    large, with a rank correlation of 0.7 to 0.9 (benchmarks/results/attacks/influence.md).

    Args:
        inputs: Inputs of the attacked images, float64 ``[images, dimensions + 1]``.
        rows: Images of the positives, int64 ``[positives]``.
        fitted: The surrogate of their class.
        damage: The held-out loss of their class.

    Returns:
        float64 ``[positives]``.
    """
    _, gradient = damage.of(fitted.weights)
    found: Floats = -(inputs[rows] @ np.linalg.solve(fitted.hessian, gradient)) / len(inputs)
    return found


class Problem(NamedTuple):
    """Surrogates of all classes, and what they are fitted to.

    Attributes:
        inputs: Inputs of the attacked images, float64 ``[images, dimensions + 1]``.
        damages: Held-out loss of each class, or None.
        l2: Weight decay of the surrogates.
    """

    inputs: Floats
    damages: list[Damage | None]
    l2: float


def problem_of(
    features: NDArray[np.float32],
    held_out: HeldOut,
    *,
    dimensions: int,
    l2: float,
    objective: Objective,
) -> Problem:
    """The problem of some features; arguments are those of the functions above."""
    inputs, others = inputs_of(features, held_out.features, dimensions)
    return Problem(inputs, damages(others, held_out.labels, objective), l2)


def removal_order(
    problem: Problem,
    labels: PartialLabels,
    count: int,
    at_once: int,
    words: NDArray[np.uint64],
) -> IntArray:
    """Greedy order of removal: the largest influences first, estimated anew after each round.

    Args:
        problem: The problem.
        labels: Labels under attack; hidden entries count as negative.
        count: How many positives to order.
        at_once: How many are removed in a round.
        words: A random word of each positive, by which ties are broken, uint64 ``[positives]``.

    Returns:
        int64 ``[count]``: positions among the known positives, image by image; for equal
        ``at_once`` and ``words``, that of a smaller count is the beginning of that of a larger one.
    """
    rows, columns = labels.positive_entries()
    counting = max(sum(damage is not None for damage in problem.damages), 1)
    fits: dict[int, Fit] = {}
    gain, left = np.zeros(len(rows)), np.ones(len(rows), dtype=np.bool_)
    order, changed = np.empty(0, dtype=np.int64), np.unique(columns)
    while len(order) < count:
        for column in changed.tolist():
            damage = problem.damages[column]
            if damage is None:  # nothing shows what its removal does
                continue
            there = np.flatnonzero((columns == column) & left)
            targets = np.zeros(len(labels), dtype=np.bool_)
            targets[rows[there]] = True
            found = fit(problem.inputs, targets, problem.l2, fits.get(column))
            fits[column] = found
            gain[there] = influences(problem.inputs, rows[there], found, damage) / counting
        known = np.flatnonzero(left)
        some = known[np.lexsort((words[known], -gain[known]))[: min(at_once, count - len(order))]]
        left[some] = False
        order, changed = np.concatenate([order, some]), np.unique(columns[some])
    return order
