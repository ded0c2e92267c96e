"""Contract of datasets; the checks load them."""

from __future__ import annotations

import numpy as np

from labelattack import datasets
from labelattack.testing.check import Kind, require


def loads_the_same_twice(spec: str) -> None:
    """Results are found by the fingerprint."""
    first, second = (datasets.create(spec).load().fingerprint for _ in range(2))
    require(first == second, "must load the same data twice")


def splits_are_disjoint(spec: str) -> None:
    """No image is in two splits."""
    splits = datasets.create(spec).load()
    names = [set(s.ids) for s in (splits.train, splits.val, splits.test)]
    require(sum(map(len, names)) == len(set.union(*names)), "splits must share no image")


def images_are_pixels(spec: str) -> None:
    """Images are arrays of RGB pixels."""
    image = datasets.create(spec).load().train.images[0]
    fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    require(fits, f"images must be uint8 [h, w, 3], got {image.dtype} {image.shape}")


KIND = Kind(
    datasets.registry,
    (
        loads_the_same_twice,
        splits_are_disjoint,
        images_are_pixels,
    ),
)
dataset_checks = KIND.checks
