"""Datasets and models, loaded once a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Split, Splits
from labelattack.errors import LabelAttackError, PluginError
from labelattack.measures._d_score.scoring import choose_images
from labelattack.registry.spec import Spec
from labelattack.training.feature_cache import frozen_network
from labelattack.training.hardware import resolve_device
from labelattack.training.protocols import registry as protocols
from labelattack.training.protocols.base import Prepared

_others: list[Callable[[], None]] = [frozen_network.cache_clear]


def on_forget(clear: Callable[[], None]) -> None:
    """Names what else is to be cleared when data and models are forgotten."""
    _others.append(clear)


def forget() -> None:
    """Drops what this process keeps of datasets and models, as their files may have changed."""
    for clear in (load.cache_clear, chosen_test.cache_clear, prepared.cache_clear, *_others):
        clear()


@lru_cache(maxsize=1)
def load(dataset: str) -> Splits:
    """Loads a dataset, keeping the last one.

    Raises:
        LabelAttackError: If it cannot be had.
    """
    try:
        return datasets.create(dataset).load()
    except (LabelAttackError, OSError, MemoryError):
        raise
    except Exception as error:
        if datasets.is_builtin(dataset):
            raise
        raise PluginError(
            f"dataset '{dataset}' failed to load: {type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=2)
def chosen_test(dataset: str, images: int, seed: int) -> Split:
    """The test images on which more than mAP is measured; the same for every cell."""
    test = load(dataset).test
    return test.take(choose_images(test.labels, images, seed=seed))


@lru_cache(maxsize=1)
def prepared(dataset: str, model: Spec, protocol: str, device: str) -> Prepared:
    """Readies a dataset and a model for training under a protocol, keeping the last pair."""
    return protocols.create(protocol).prepare(load(dataset), model, device=resolve_device(device))
