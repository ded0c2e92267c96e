"""mAP of many runs whose scores are on the device, against a bare sort and against the CPU."""

import numpy as np
import torch
from timing import compare

from labelattack.metrics.average_precision import mean_average_precisions
from labelattack.training.vectorized.device_maps import maps_of


def rows(setting):
    for shape in setting.size([(500, 1_002, 20), (10, 16_416, 80)], [(5, 30, 4)]):
        rng = np.random.default_rng(0)
        scores = rng.normal(size=shape).astype(np.float32)
        truth = rng.random(shape) < 0.04
        there = torch.from_numpy(scores).to(setting.device)
        by_class = there.transpose(1, 2).contiguous()
        count, images, labels = shape
        what = f"mAP of {count} runs, {images:,} x {labels}"
        sides = (
            ("sorting the scores there", lambda rows=by_class: rows.sort(dim=2)),
            (
                "copying them and counting on one core",
                lambda s=there, t=truth: mean_average_precisions(s.cpu().numpy(), t),
            ),
        )
        for against, theirs in sides:
            yield compare(
                what,
                "runs",
                count,
                lambda s=there, t=truth: maps_of(s, t),
                against,
                theirs,
                setting,
            )
