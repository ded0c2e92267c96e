"""Pooled features of a frozen backbone: computed once, cached on disk, never trusted blindly."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from labelattack.datasets.base import Split
from labelattack.errors import StoreError
from labelattack.models import registry as models
from labelattack.models.base import pool, weights_digest
from labelattack.registry import Spec, digest
from labelattack.training.device import resolve_device
from labelattack.training.inputs import ImageInputs, Rows, split_batches
from labelattack.training.workers import worker_pool

Features = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
_CHUNK = 64


def cache_folder() -> Path:
    """Folder of cached features: LABELATTACK_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("LABELATTACK_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("labelattack")


def features(
    split: Split,
    model: Spec,
    *,
    device: str = "cpu",
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> Features:
    """Pooled features of a split, from the cache if it holds exactly these.

    Args:
        split: The images.
        model: Resolved spec of the model.
        device: Where to compute.
        jobs: Processes, each with one thread; only used on the CPU.
        plugins: Plug-in files that the processes must load.
        progress: Told what is being done, how much is done, and of how much.

    Returns:
        float32 ``[images, channels]``.

    Raises:
        DatasetError: If an image cannot be read; it is named.
        ModelError: If the model's weights cannot be had.
        StoreError: If the cache cannot be written.
    """
    built = models.create(model)
    network = built.frozen()
    # The head's prior does not touch the features.
    params = {k: v for k, v in model.params if k != "prior"}
    key = digest(
        {
            "images": split.images.fingerprint(),
            "ids": list(split.ids),
            "model": str(Spec.of(model.name, params)),
            "version": models.version(model.name),
            "weights": weights_digest(network),
            "preprocessing": built.preprocessing._asdict(),
        }
    )
    path = cache_folder() / "features" / f"{key}.safetensors"
    found = _read(path, key, len(split.ids))
    if found is None:
        found = _extract(split, model, device, jobs, plugins, progress)
        _write(path, key, found)
    return found


def _extract(
    split: Split,
    model: Spec,
    device: str,
    jobs: int,
    plugins: tuple[str, ...],
    progress: Progress,
) -> Features:
    what, total, done = f"features of {len(split.ids)} images, {model.name}", len(split.ids), 0

    def advance(count: int, _: Future[Features] | None = None) -> None:
        nonlocal done
        done += count
        progress(what, done, total)

    advance(0)
    parts: list[Future[Features]] = []
    with worker_pool(jobs if device == "cpu" else 1, plugins) as workers:
        for rows in split_batches(np.arange(total), _CHUNK):
            part = workers.submit(_chunk_features, split.take(rows), model, device)
            part.add_done_callback(partial(advance, len(rows)))
            parts.append(part)
        return np.concatenate([part.result() for part in parts])


@cache
def _network(model: Spec, device: str) -> torch.nn.Module:
    network = models.create(model).frozen().to(resolve_device(device))
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def _chunk_features(split: Split, model: Spec, device: str) -> Features:
    network = _network(model, device)
    inputs = ImageInputs(split.images, models.create(model).preprocessing, resolve_device(device))
    rows: list[Rows] = [np.arange(len(split.ids))]
    (batch,) = inputs.stream(rows)
    pooled = pool(network(batch.contiguous(memory_format=torch.channels_last)))
    return pooled.float().cpu().numpy()


def _read(path: Path, key: str, images: int) -> Features | None:
    """Features from a cache file; None if it is absent, damaged, or of something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            found: Features = file.get_tensor("features")
    except (OSError, SafetensorError, KeyError):
        return None
    intact = meta.get("key") == key and meta.get("sha256") == _checksum(found)
    return found if intact and found.dtype == np.float32 and len(found) == images else None


def _write(path: Path, key: str, found: Features) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            part = Path(folder) / path.name
            save_file({"features": found}, part, metadata={"key": key, "sha256": _checksum(found)})
            part.replace(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"features cannot be cached at '{path}': {error}") from error


def _checksum(found: Features) -> str:
    return hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()
