"""Plain loops and strategies that tests of attacks share: definitions without any trick."""

import numpy as np
from hypothesis import strategies as st

from labelattack.labels import PartialLabels
from labelattack.seeding import generator

rates = st.floats(0, 1)
seeds = st.integers(0, 5)


@st.composite
def partial_labels(draw, most=8):
    """Labels from empty to full, known in part, as arrays or as a list of entries."""
    shape = draw(st.integers(0, 3 * most)), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.random(shape) < draw(st.sampled_from([0, 0.2, 0.5, 1]))
    known = rng.random(shape) < draw(st.sampled_from([0, 0.3, 0.8, 1]))
    if draw(st.booleans()):
        return PartialLabels(values, known)
    rows, columns = np.nonzero(known)
    return PartialLabels.from_entries(shape, rows, columns, values[known])


def entries(labels, value=None):
    """Known entries ``(image, class)``, row by row; of one value, where it is given."""
    return [
        (i, j)
        for i in range(labels.shape[0])
        for j in range(labels.shape[1])
        if labels.observed[i, j] and value in (None, bool(labels.values[i, j]))
    ]


class Words:
    """The words that an attack draws, one after the other."""

    def __init__(self, seed):
        self.raw = generator(seed, "attack").bit_generator.random_raw

    def __call__(self, count):
        return [int(word) for word in self.raw(count)]

    def share(self, items, rate):
        """``round(rate * n)`` of n items: those with the smallest high bits, then the first."""
        bits = max(len(items) - 1, 1).bit_length()
        keys = [word >> bits for word in self(len(items))]
        return set(first(items, keys, round(rate * len(items))))

    def smallest(self, items, count):
        """The items with the smallest words, then the first."""
        return set(first(items, self(len(items)), count))


def first(items, keys, count):
    """The ``count`` items with the smallest keys, in that order; of equal ones the first."""
    return [items[n] for n in sorted(range(len(items)), key=lambda n: (keys[n], n))[:count]]


def observed(labels):
    """Entries that are observed."""
    return set(entries(labels))


def per_class(found, classes):
    """Number of entries of each class."""
    return [sum(j == column for _, j in found) for column in range(classes)]
