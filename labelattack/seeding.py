"""Named random streams, reproducible on every machine and with every library version.

Only the raw output of NumPy's bit generators is used. NumPy guarantees that this output never
changes; neither NumPy's distributions nor torch's generators come with such a guarantee.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import ParameterError, shown


def check_seed(seed: Any) -> None:
    """Raises ParameterError unless a seed is a whole number from 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed must be an integer from 0, got {shown(seed)}")


def stream_seed(seed: int, *names: str) -> int:
    """Derives the seed of a named stream, so that no two purposes share random numbers.

    Args:
        seed: The seed of the run.
        names: Purpose of the stream, e.g. ``"shuffle", "3"``.

    Returns:
        A 63-bit non-negative integer.
    """
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> np.random.Generator:
    """Returns the NumPy generator of a named stream."""
    return np.random.Generator(np.random.PCG64(stream_seed(seed, *names)))


def raw_words(rng: np.random.Generator, count: int) -> NDArray[np.uint64]:
    """Draws the next ``count`` words of a generator: uint64 ``[count]``, uniform."""
    return np.asarray(rng.bit_generator.random_raw(count), dtype=np.uint64)


def skip_words(rng: np.random.Generator, count: int) -> None:
    """Leaves out the next ``count`` words of a generator."""
    if isinstance(rng.bit_generator, np.random.PCG64):
        rng.bit_generator.advance(count)
    else:
        raw_words(rng, count)


def random_keys(rng: np.random.Generator, count: int) -> NDArray[np.uint64]:
    """Draws distinct sort keys: taking the k smallest is a uniform draw of k out of ``count``.

    The low bits hold the position, so keys never tie and the draw for k is a subset of the draw for
    any larger k.

    Args:
        rng: Source of raw bits.
        count: Number of keys, below 2**32.

    Returns:
        uint64 array ``[count]`` of distinct values.
    """
    bits = np.uint64(max(count - 1, 1).bit_length())
    raw = raw_words(rng, count)
    return (raw >> bits << bits) | np.arange(count, dtype=np.uint64)


def bounded(rng: np.random.Generator, below: int, count: int) -> NDArray[np.int64]:
    """Draws ``count`` integers in ``[0, below)``, with replacement.

    Args:
        rng: Source of raw bits.
        below: Upper bound, at most 2**32.
        count: Number of integers.

    Returns:
        int64 array ``[count]``.
    """
    raw = raw_words(rng, count)
    # The high bits of a product are uniform below the bound, up to 2**-32.
    return (((raw >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


def permutation(count: int, seed: int, *names: str) -> NDArray[np.int64]:
    """Returns a uniform permutation of ``range(count)`` from a named stream."""
    return np.argsort(random_keys(generator(seed, *names), count)).astype(np.int64)
