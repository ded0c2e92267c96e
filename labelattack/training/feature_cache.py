"""Features of a frozen backbone: computed once, cached on disk, verified when read."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor, nn

from labelattack.datasets.base import Split
from labelattack.errors import DatasetError, StoreError
from labelattack.files.storage import cache_folder, written_whole
from labelattack.hashing import digest
from labelattack.models import registry as models
from labelattack.models.base import pool, weights_digest
from labelattack.registry.installation import edits_behind
from labelattack.registry.spec import Spec
from labelattack.training.compute import ONE_CPU, Compute
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import ImageInputs, split_batches
from labelattack.training.workers import in_order, worker_pool

_log = logging.getLogger("labelattack")
Features = NDArray[np.float32]


class _Sizes(NamedTuple):
    """Images of a batch, and of a chunk that is computed as one."""

    batch: int
    chunk: int


# Larger ones are no faster on a CPU, and take more memory; other devices wait for the launches of a
# small batch's kernels, and for the first images of each chunk.
_ON_CPU, _ON_OTHERS = _Sizes(16, 64), _Sizes(64, 1024)


class Readout(Protocol):
    """Arrays kept of a backbone's output; it pickles, as other processes compute them."""

    def describe(self) -> dict[str, Any]:
        """Settings on which the result depends, as JSON values; part of the cache's key."""
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


@dataclass(frozen=True)
class MapReadout:
    """The whole map of the last stage."""

    def describe(self) -> dict[str, Any]:
        """Nothing but its name."""
        return {"readout": "map"}

    def __call__(self, backbone: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        """``map``, ``[batch, channels, height, width]``."""
        return {"map": backbone(batch)}


def features(
    split: Split,
    model: Spec,
    *,
    readout: Readout = PooledReadout(),
    compute: Compute = ONE_CPU,
) -> dict[str, Features]:
    """Features of a split, from the cache if it holds exactly these.

    Args:
        split: The images.
        model: Resolved spec of the model.
        readout: What is kept of the backbone's output; pooled features by default.
        compute: Where to compute; several processes are used on the CPU only.

    Returns:
        float32 arrays by name, images along the first axis. They are maps of the cached files:
        what is not looked at takes no memory, and what is written to them stays in this process.

    Raises:
        DatasetError: If an image cannot be read; it is named.
        ModelError: If the model's weights cannot be had.
        StoreError: If the cache cannot be written.
    """
    key, total = _key(split, model, readout), len(split.ids)
    path = cache_folder() / "features" / f"{key}.json"
    found = _read(path, key, total)
    what = _what(split, model, readout)
    if found is not None:
        _log.info("%s: read from the cache, %s", what, path)
        return found
    # Several processes may want them at once: one extracts, the others find them cached.
    with _alone(cache_folder() / "locks" / f"{key}.lock"):
        found = _read(path, key, total)
        if found is None:
            _log.info("%s: not in the cache, computed on %s", what, compute.torch_device)
            parts = _extract(split, model, readout, compute)
            _write_unchanged(path, key, split, parts)
            # Who has computed them reads them too: everybody has the same bits in the same layout.
            found = _read(path, key, total)
    if found is None:
        raise StoreError(f"features must stay in '{path.parent}' as they were written there")
    return found


def _what(split: Split, model: Spec, readout: Readout) -> str:
    return f"{readout.describe()['readout']} features of {len(split.ids)} images, {model.name}"


def _key(split: Split, model: Spec, readout: Readout) -> str:
    """Hash of everything that features depend on."""
    built = models.create(model)
    # The head's prior does not touch the features.
    params = {k: v for k, v in model.params if k != "prior"}
    return digest(
        {
            "images": split.images_fingerprint,
            "ids": list(split.ids),
            "model": str(Spec.of(model.name, params)),
            "version": models.version(model.name),
            "weights": weights_digest(built.frozen()),
            "preprocessing": built.preprocessing._asdict(),
            # Weights and preprocessing do not tell how a library's code uses them.
            **{f"library {name}": installed(name) for name in built.libraries},
            **_edited(readout),
            **readout.describe(),
        }
    )


def _edited(readout: Readout) -> dict[str, str]:
    """Hashes of the edited code that features come from; none if it is as it was committed."""
    modules = {__name__, type(readout).__module__}
    return {name: edits for name in sorted(modules) if (edits := edits_behind(name))}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with _caching(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _caching(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"features cannot be cached at '{path.parent}': {error}") from error


def _extract(
    split: Split, model: Spec, readout: Readout, compute: Compute
) -> Generator[dict[str, Features], None, None]:
    """Yields arrays of one chunk of images after the other; a few of them are in memory."""
    what = _what(split, model, readout)
    total, done = len(split.ids), 0
    compute.progress(what, done, total)
    device = str(compute.torch_device)
    # Of one size, however many processes: products of matrices round by the size of a batch.
    chunks = split_batches(np.arange(total), _sizes(device).chunk)
    processes = max(1, min(compute.jobs, len(chunks))) if device == "cpu" else 1
    tasks = ((split.take(rows), model, readout, device) for rows in chunks)
    with worker_pool(processes, compute.plugins) as workers:
        parts = in_order(workers, _chunk_features, tasks, ahead=2 * processes)
        for rows, part in zip(chunks, parts, strict=True):
            yield part
            done += len(rows)
            compute.progress(what, done, total)


def _sizes(device: str) -> _Sizes:
    return _ON_CPU if device == "cpu" else _ON_OTHERS


@cache
def frozen_network(model: Spec, device: str) -> torch.nn.Module:
    """The frozen backbone of a model on a device, built once a process."""
    network = models.create(model).frozen().to(resolve_device(device))
    return network.to(memory_format=torch.channels_last)


@torch.inference_mode()
def _chunk_features(
    split: Split, model: Spec, readout: Readout, device: str
) -> dict[str, Features]:
    network = frozen_network(model, device)
    inputs = ImageInputs(split.images, models.create(model).preprocessing, resolve_device(device))
    batches = split_batches(np.arange(len(split.ids)), _sizes(device).batch)
    kept = [readout(network, batch) for batch in inputs.stream(batches)]
    return {name: torch.cat([k[name] for k in kept]).float().cpu().numpy() for name in kept[0]}


class _Contents(BaseModel):
    """Table of contents of a key's cached arrays, with hashes of their files; written last."""

    key: str
    sha256: dict[str, str]


def _array_file(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}.npy")


def _read(path: Path, key: str, images: int) -> dict[str, Features] | None:
    """Maps arrays of the cache; None if they are absent, damaged, or of something else."""
    try:
        contents = _Contents.model_validate_json(path.read_bytes())
        files = {name: _array_file(path, name) for name in contents.sha256}
        if contents != _contents(key, files):
            return None
        found: dict[str, Features] = {n: np.load(f, mmap_mode="c") for n, f in files.items()}
    except (OSError, ValueError):
        return None
    fits = all(v.dtype == np.float32 and v.shape[:1] == (images,) for v in found.values())
    return found if found and fits else None


def _contents(key: str, files: dict[str, Path]) -> _Contents:
    sums = {}
    for name, path in files.items():
        with path.open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return _Contents(key=key, sha256=sums)


def _write(path: Path, key: str, images: int, parts: Iterable[dict[str, Features]]) -> None:
    """Appends each part to the arrays' files, which appear when all of them are whole."""
    files: dict[str, IO[bytes]] = {}
    with ExitStack() as opened:
        for part in parts:
            with _caching(path):
                for name, values in part.items():
                    if name not in files:
                        _require_room(path.parent, images * values[0].nbytes)
                        array = _array(_array_file(path, name), (images, *values.shape[1:]))
                        files[name] = opened.enter_context(array)
                    files[name].write(values.tobytes())
        with _caching(path):
            opened.close()
            contents = _contents(key, {name: _array_file(path, name) for name in files})
            with written_whole(path) as unfinished:
                unfinished.write_text(contents.model_dump_json(), encoding="utf-8")


def _require_room(folder: Path, size: int) -> None:
    """Refuses to begin what the disk cannot hold: maps of many images take hundreds of GB."""
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = size / 1e9, shutil.disk_usage(folder).free / 1e9
    _log.info("features of %.1f GB are written to '%s', %.1f GB free", needed, folder, free)
    if needed > free:
        raise StoreError(
            f"'{folder}' must have room for features of {needed:.1f} GB, got {free:.1f}; set "
            "LABELATTACK_CACHE to a folder on a larger disk"
        )


def _write_unchanged(
    path: Path, key: str, split: Split, parts: Generator[dict[str, Features], None, None]
) -> None:
    """Writes features, and takes them back where images were replaced meanwhile."""
    with closing(parts):
        _write(path, key, len(split.ids), parts)
    if not split.is_unchanged:
        path.unlink()
        raise DatasetError(
            "images must stay as they are while features are read, but were replaced; run "
            "the same command again"
        )


@contextmanager
def _array(path: Path, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """Opens a float32 ``.npy`` file for its values to be written one after the other."""
    # Not as a map: a process that writes to one when the disk is full is killed.
    descr = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file
