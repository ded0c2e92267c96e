"""Contract of datasets; the checks load them."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelattack import datasets, models
from labelattack.datasets.base import Splits
from labelattack.testing.check import Kind, require

_SAMPLES = 20  # images of a split that are read; labelattack data check reads all


def _loaded(spec: str) -> Splits:
    found: Any = datasets.create(spec).load()
    require(isinstance(found, Splits), f"load must return Splits, got a {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def loads_the_same_twice(spec: str) -> None:
    """Results are found by the fingerprint."""
    first, second = (_loaded(spec).fingerprint for _ in range(2))
    require(first == second, "must load the same data twice")


def splits_are_disjoint(spec: str) -> None:
    """No image is in two splits."""
    splits = _loaded(spec)
    names = [set(s.ids) for s in (splits.train, splits.val, splits.test)]
    require(sum(map(len, names)) == len(set.union(*names)), "splits must share no image")


def images_are_pixels(spec: str) -> None:
    """Images of every split are arrays of RGB pixels, the same whenever they are read."""
    for name, split in _loaded(spec).parts.items():
        for row in np.unique(np.linspace(0, len(split) - 1, _SAMPLES).astype(int)):
            what = f"image {row} of {name}"
            try:
                image, again = (split.images[int(row)] for _ in range(2))
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                require(False, f"{what} must be readable, got {reason}")
            array = isinstance(image, np.ndarray)
            fits = array and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            got = f"{image.dtype} {image.shape}" if array else f"a {type(image).__name__}"
            require(fits, f"{what} must be an array of uint8 [h, w, 3], got {got}")
            require(np.array_equal(image, again), f"{what} must be the same when read again")


def names_a_known_model(spec: str) -> None:
    """The benchmark uses it where none is named."""
    named = datasets.registry.get(datasets.registry.resolve(spec).name).default_model
    models.registry.resolve(named)


KIND = Kind(
    datasets.registry,
    (
        loads_the_same_twice,
        splits_are_disjoint,
        images_are_pixels,
        names_a_known_model,
    ),
)
dataset_checks = KIND.checks
