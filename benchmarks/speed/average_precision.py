"""Average precision against scikit-learn, same data, same process, in turn.

python benchmarks/speed/average_precision.py
"""

import statistics
import time

import numpy as np
from sklearn.metrics import average_precision_score

from labelattack import average_precision

ROUNDS = 5


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


for images, labels in ((4_952, 20), (40_137, 80), (60_260, 81)):
    rng = np.random.default_rng(0)
    truth = rng.random((images, labels)) < 0.04
    scores = rng.random((images, labels), dtype=np.float32)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        took, found = seconds(lambda s=scores, t=truth: average_precision(s, t))
        ours.append(took)
        took, expected = seconds(
            lambda s=scores, t=truth: average_precision_score(t, s, average=None)
        )
        theirs.append(took)
        assert np.allclose(found, expected, atol=1e-12)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{images} x {labels}: {1000 * statistics.median(ours):.0f} ms, scikit-learn "
        f"{1000 * statistics.median(theirs):.0f} ms, ratio {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f} to {max(ratios):.1f})"
    )
