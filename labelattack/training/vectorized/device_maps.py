"""mAP of many runs, computed where their scores are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelattack.labels import BoolArray
from labelattack.metrics.average_precision import mean_average_precisions
from labelattack.training.hardware import to_device

_WITHOUT_FLOAT64 = "mps"


def maps_of(
    scores: Tensor, labels: BoolArray, scored: BoolArray | None = None
) -> NDArray[np.float64]:
    """Macro mAP of each of many runs, on the device of their scores if it has float64.

    Args:
        scores: float32 ``[runs, images, labels]``.
        labels: bool, of the same shape.
        scored: Entries that count, bool of the same shape; None: all.

    Returns:
        float64 ``[runs]`` in [0, 1]; NaN for a run without a class for which it is defined. On the
        CPU also for one with scores that are not finite; elsewhere that run's is meaningless.
    """
    if scores.device.type in ("cpu", _WITHOUT_FLOAT64):
        return mean_average_precisions(scores.cpu().numpy(), labels, scored=scored)

    def there(mask: BoolArray) -> Tensor:
        return to_device(torch.from_numpy(mask), scores.device)

    found: Any = device_maps(scores, there(labels), None if scored is None else there(scored))
    return np.asarray(found.cpu().numpy())


def device_maps(scores: Tensor, labels: Tensor, scored: Tensor | None = None) -> Tensor:
    """Macro mAP of each of many runs, ties counted together.

    As [mean_average_precisions][labelattack.metrics.average_precision.mean_average_precisions],
    without the scores leaving their device.

    Args:
        scores: Finite, float ``[runs, images, labels]``.
        labels: bool, of the same shape.
        scored: Entries that count, bool of the same shape; None: all.

    Returns:
        float64 ``[runs]`` in [0, 1]; NaN for a run without a class for which it is defined.
    """
    runs, images, classes = scores.shape
    rows, truth = _by_class(scores), _by_class(labels)
    of_each = torch.full((len(rows),), images, device=rows.device)
    if scored is not None:
        counted = _by_class(scored)
        rows, truth = rows.masked_fill(~counted, -torch.inf), truth & counted
        of_each = counted.sum(1)
    ordered, place = rows.sort(dim=1)
    hit = truth.gather(1, place)
    first_equal = torch.searchsorted(ordered, ordered)
    hits = hit.flip(1).cumsum(1).flip(1).gather(1, first_equal)  # that score at least as high
    precision = hits.double() / (images - first_equal)
    positives = hit.sum(1)
    ranked = (positives > 0) & (positives < of_each)  # without a negative there is nothing to rank
    each = torch.where(ranked, (precision * hit).sum(1) / positives.clamp(min=1), 0)
    sums, defined = (values.view(runs, classes).sum(1) for values in (each, ranked))
    return sums / torch.where(defined > 0, defined, torch.nan)


def _by_class(values: Tensor) -> Tensor:
    """``[runs, images, labels]`` as rows of one class of one run each, ``[rows, images]``."""
    return values.transpose(1, 2).flatten(0, 1).contiguous()
