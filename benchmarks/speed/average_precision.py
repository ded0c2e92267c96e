"""Average precision against scikit-learn and torchmetrics, and of many runs at once."""

import numpy as np
import torch
from side_by_side import compare
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_average_precision

from labelattack import average_precision
from labelattack.metrics.average_precision import (
    mean_average_precision,
    mean_average_precisions,
)

SIZES = (4_952, 20), (40_137, 80), (60_260, 81)
RUNS = (40, 1_002, 20)  # runs, validation images, labels


def made(*shape):
    rng = np.random.default_rng(0)
    return rng.random(shape, dtype=np.float32), rng.random(shape) < 0.04


def rows():
    for shape in SIZES:
        scores, truth = made(*shape)
        given = torch.from_numpy(scores), torch.from_numpy(truth).long()

        def ours(s=scores, t=truth):
            return average_precision(s, t)

        def sklearn(s=scores, t=truth):
            return average_precision_score(t, s, average=None)

        def torchmetrics(g=given, labels=shape[1]):
            return multilabel_average_precision(*g, num_labels=labels, average=None)

        np.testing.assert_allclose(ours(), sklearn(), atol=1e-12)
        np.testing.assert_allclose(ours(), torchmetrics().numpy(), atol=1e-5)
        what = f"average precision, {shape[0]:,} × {shape[1]}"
        goal = 12 if shape == (40_137, 80) else None
        yield compare(what, "scikit-learn", ours, sklearn, "speedup", goal, rounds=5)
        yield compare(what, "torchmetrics", ours, torchmetrics, "speedup", rounds=5)
    scores, truth = made(*RUNS)

    def together():
        return mean_average_precisions(scores, truth)

    def each():
        return [mean_average_precision(s, t) for s, t in zip(scores, truth, strict=True)]

    np.testing.assert_allclose(together(), each(), atol=1e-12)
    yield compare(
        f"mAP of {RUNS[0]} runs, {RUNS[1]:,} × {RUNS[2]}", "one run after another", together, each,
        "speedup",
    )  # fmt: skip
