"""Corruptions, against the functions that they were, and their strengths."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.special import ndtri

from labelattack import corruptions
from labelattack.corruptions import STANDARD
from labelattack.corruptions.tables import TABLES
from labelattack.seeding import bounded, generator, raw_words

SHIFTS = (0.04, 0.08, 0.12, 0.16, 0.2)
STRENGTHS = {
    "imagenet-c": {
        "gaussian-noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "gaussian-blur": (1, 2, 3, 4, 6),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "jpeg": (25, 18, 15, 10, 7),
        "translation": SHIFTS,
        "rescaling": (0.6, 0.5, 0.4, 0.3, 0.25),
    },
    "cifar-10-c": {
        "gaussian-noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "gaussian-blur": (0.4, 0.6, 0.7, 0.8, 1),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "jpeg": (80, 65, 58, 50, 40),
        "translation": SHIFTS,
        "rescaling": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
}


def rounded(values):
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def oracle(image, corruption, strength, rng):
    """The one function that all of them were; records hold what it came to."""
    match corruption:
        case "gaussian-noise":
            words = raw_words(rng, image.size) >> np.uint64(11)
            normal = ndtri((words + 0.5) / 2**53).reshape(image.shape)
            return rounded(image + 255 * strength * normal)
        case "gaussian-blur":
            sigmas = (strength, strength, 0)
            return rounded(gaussian_filter(image.astype(np.float64), sigmas, mode="nearest"))
        case "contrast":
            means = image.mean(axis=(0, 1), keepdims=True)
            return rounded((image - means) * strength + means)
        case "jpeg":
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=int(strength))
            return np.asarray(Image.open(file))
        case "translation":
            shifted = image
            for axis, forward in enumerate(bounded(rng, 2, 2)):
                length = image.shape[axis]
                steps = round(strength * length) * (1 if forward else -1)
                places = np.clip(np.arange(length) - steps, 0, length - 1)
                shifted = shifted.take(places, axis=axis)
            return shifted
        case "rescaling":
            height, width = image.shape[:2]
            small = max(1, int(width * strength)), max(1, int(height * strength))
            resized = Image.fromarray(image).resize(small, Image.Resampling.BOX)
            return np.asarray(resized.resize((width, height), Image.Resampling.BOX))


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("table", TABLES)
def test_outputs_are_those_that_records_hold(name, table):
    corruption = corruptions.create(name)
    for side, strength in zip(((32, 32), (21, 40), (1, 1), (64, 48), (97, 80)),
                              STRENGTHS[table][name], strict=True):  # fmt: skip
        image = np.random.default_rng(sum(side)).integers(0, 256, (*side, 3), dtype=np.uint8)
        for seed in range(3):
            rngs = [generator(seed, "corruption", name, "7") for _ in range(2)]
            np.testing.assert_array_equal(
                corruption(image, strength, rngs[0]), oracle(image, name, strength, rngs[1])
            )


def test_standard_corruptions_have_the_published_strengths():
    for table in TABLES:
        found = {name: corruptions.registry.get(name).strengths[table] for name in STANDARD}
        assert repr(found) == repr(STRENGTHS[table])  # an int is no float: digests tell them apart
    built_in = [d.name for d in corruptions.registry.declarations() if d.origin == "built-in"]
    assert {n for n in built_in if corruptions.registry.get(n).standard} == set(STANDARD)
