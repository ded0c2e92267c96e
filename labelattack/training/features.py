"""What a frozen backbone gives: computed once, cached on disk, never trusted blindly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from labelattack.datasets.base import Split
from labelattack.errors import StoreError
from labelattack.models import registry as models
from labelattack.models.base import pool, weights_digest
from labelattack.registry import Spec, digest
from labelattack.storage import cache_folder, written_whole
from labelattack.training.device import resolve_device
from labelattack.training.inputs import ImageInputs, Rows, split_batches
from labelattack.training.workers import worker_pool

Features = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
_CHUNK = 64


class Readout(Protocol):
    """What is kept of a backbone's output; sent to other processes, so it must pickle."""

    def describe(self) -> dict[str, Any]:
        """What the result depends on, as JSON values; part of the cache's key."""
        ...

    def __call__(self, backbone: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        """Float32 arrays of a batch of images, by name, images along the first axis."""
        ...


@dataclass(frozen=True)
class PooledReadout:
    """Globally pooled features."""

    def describe(self) -> dict[str, Any]:
        """Nothing but its name."""
        return {"readout": "pooled"}

    def __call__(self, backbone: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        """``features``, ``[batch, channels]``."""
        return {"features": pool(backbone(batch))}


def features(
    split: Split,
    model: Spec,
    *,
    readout: Readout = PooledReadout(),
    device: str = "cpu",
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Features]:
    """Features of a split, from the cache if it holds exactly these.

    Args:
        split: The images.
        model: Resolved spec of the model.
        readout: What is kept of the backbone's output; pooled features by default.
        device: Where to compute.
        jobs: Processes, each with one thread; only used on the CPU.
        plugins: Plug-in files that the processes must load.
        progress: Told what is being done, how much is done, and of how much.

    Returns:
        float32 arrays by name, images along the first axis.

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
            **readout.describe(),
        }
    )
    path = cache_folder() / "features" / f"{key}.safetensors"
    found = _read(path, key, len(split.ids))
    if found is not None:
        return found
    # Several processes may want them at once: one extracts, the others find them cached.
    with _alone(cache_folder() / "locks" / f"{key}.lock"):
        found = _read(path, key, len(split.ids))
        if found is None:
            found = _extract(split, model, readout, device, jobs, plugins, progress)
            _write(path, key, found)
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    except OSError as error:
        raise StoreError(f"features cannot be cached at '{path.parent}': {error}") from error
    try:
        yield
    finally:
        lock.release()


def _extract(
    split: Split,
    model: Spec,
    readout: Readout,
    device: str,
    jobs: int,
    plugins: tuple[str, ...],
    progress: Progress,
) -> dict[str, Features]:
    what = f"{readout.describe()['readout']} features of {len(split.ids)} images, {model.name}"
    total, done = len(split.ids), 0

    def advance(count: int, _: Future[dict[str, Features]] | None = None) -> None:
        nonlocal done
        done += count
        progress(what, done, total)

    advance(0)
    parts: list[Future[dict[str, Features]]] = []
    with worker_pool(jobs if device == "cpu" else 1, plugins) as workers:
        for rows in split_batches(np.arange(total), _CHUNK):
            part = workers.submit(_chunk_features, split.take(rows), model, readout, device)
            part.add_done_callback(partial(advance, len(rows)))
            parts.append(part)
        found = [part.result() for part in parts]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


@cache
def _network(model: Spec, device: str) -> torch.nn.Module:
    network = models.create(model).frozen().to(resolve_device(device))
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def _chunk_features(
    split: Split, model: Spec, readout: Readout, device: str
) -> dict[str, Features]:
    network = _network(model, device)
    inputs = ImageInputs(split.images, models.create(model).preprocessing, resolve_device(device))
    rows: list[Rows] = [np.arange(len(split.ids))]
    (batch,) = inputs.stream(rows)
    kept = readout(network, batch.contiguous(memory_format=torch.channels_last))
    # In the order in which the cache gives them back: products of matrices round by it.
    return {name: values.float().contiguous().cpu().numpy() for name, values in kept.items()}


def _read(path: Path, key: str, images: int) -> dict[str, Features] | None:
    """Arrays from a cache file; None if it is absent, damaged, or of something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            found: dict[str, Features] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError):
        return None
    intact = meta.get("key") == key and meta.get("sha256") == _checksum(found)
    fits = all(v.dtype == np.float32 and len(v) == images for v in found.values())
    return found if intact and fits else None


def _write(path: Path, key: str, found: dict[str, Features]) -> None:
    try:
        with written_whole(path) as part:
            save_file(found, part, metadata={"key": key, "sha256": _checksum(found)})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"features cannot be cached at '{path}': {error}") from error


def _checksum(found: dict[str, Features]) -> str:
    parts = hashlib.sha256()
    for name, values in sorted(found.items()):
        parts.update(name.encode() + values.tobytes())
    return parts.hexdigest()
