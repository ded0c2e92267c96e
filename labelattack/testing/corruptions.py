"""Contract of corruptions."""

from __future__ import annotations

import numpy as np

from labelattack import corruptions
from labelattack.corruptions.base import Pixels
from labelattack.corruptions.tables import SEVERITIES, TABLES
from labelattack.seeding import generator
from labelattack.testing.check import Kind, require


def _image() -> Pixels:
    pixels = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (24, 40, 3))
    return pixels.astype(np.uint8)


def _corrupted(spec: str, image: Pixels, severity: int) -> Pixels:
    corruption = corruptions.create(spec)
    strength = corruption.strengths["cifar-10-c"][severity - 1]
    return corruption(image, strength, generator(3, "corruption"))


def has_five_strengths(spec: str) -> None:
    """Each table has a strength for each severity."""
    strengths = corruptions.registry.get(corruptions.registry.resolve(spec).name).strengths
    found = {table: len(strengths.get(table, ())) for table in TABLES}
    wanted = dict.fromkeys(TABLES, len(SEVERITIES))
    require(found == wanted, f"strengths must be {wanted} numbers, got {found}")


def keeps_shape_and_type(spec: str) -> None:
    """Pixels stay pixels, and the image that was given stays as it is."""
    for severity in SEVERITIES:
        image = _image()
        changed = _corrupted(spec, image, severity)
        fits = changed.dtype == np.uint8 and changed.shape == image.shape
        require(fits, f"must give uint8 {image.shape}, got {changed.dtype} {changed.shape}")
        require(np.array_equal(image, _image()), "must not change its input")


def is_deterministic(spec: str) -> None:
    """The generator is the only source of randomness."""
    first, second = (_corrupted(spec, _image(), 3) for _ in range(2))
    require(np.array_equal(first, second), "must give the same image for the same seed")


KIND = Kind(corruptions.registry, (has_five_strengths, keeps_shape_and_type, is_deterministic))
corruption_checks = KIND.checks
