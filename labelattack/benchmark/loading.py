"""Datasets and models, loaded once a process."""

from __future__ import annotations

from functools import lru_cache

from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Splits
from labelattack.registry import Spec
from labelattack.training.device import resolve_device
from labelattack.training.protocols import Prepared, prepare
from labelattack.training.recipe import Protocol


@lru_cache(maxsize=1)
def load(dataset: str) -> Splits:
    """Loads a dataset, keeping the last one."""
    return datasets.create(dataset).load()


@lru_cache(maxsize=1)
def prepared(dataset: str, model: Spec, protocol: Protocol, device: str) -> Prepared:
    """Readies a dataset and a model for training under a protocol, keeping the last pair."""
    return prepare(protocol, load(dataset), model, device=resolve_device(device))
