"""Several processes that train one network together, started by ``torchrun``."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from labelattack.errors import ParameterError
from labelattack.training.inputs import Rows

T = TypeVar("T")


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Joins the other processes that ``torchrun`` started; alone, does nothing.

    Args:
        device: Kind of device; on CUDA each process takes the GPU of its local rank.

    Raises:
        ParameterError: If the processes cannot find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Its functions take the group that exists when it is imported for a default, and keep it: torch
    # does that on its own when a network is made parallel. Threads of a group that is kept outlive
    # the interpreter, and abort the process when they want it.
    import torch.distributed.nn.functional

    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise ParameterError(
            f"WORLD_SIZE must come from torchrun, which starts the other processes, got {error}"
        ) from error
    try:
        yield
    finally:
        distributed.destroy_process_group()
        gc.collect()  # parallel networks hold the group, and themselves


def world_size() -> int:
    """Number of processes that train together."""
    joined = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if joined else 1


def is_main_process() -> bool:
    """Whether this is the process that stores and prints."""
    return world_size() == 1 or distributed.get_rank() == 0


def check_parallel(protocol: str, *, allowed: bool) -> None:
    """Checks that the processes that train together may do so.

    Args:
        protocol: Spec, for the message.
        allowed: Whether the protocol lets several processes train one network.

    Raises:
        ParameterError: If there are several and it does not.
    """
    if world_size() > 1 and not allowed:
        raise ParameterError(
            "torchrun must be used with --protocol finetune, or another one that divides a network "
            f"among processes, got {protocol}, which trains in one process, or in several with "
            "--jobs"
        )


def broadcast(value: T) -> T:
    """A value of the main process, on every process; it must pickle."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def shard(rows: Rows) -> Rows:
    """This process's part of some rows, as long as every other's; the last ones are filled up."""
    if world_size() == 1:
        return rows
    length = ceil(len(rows) / world_size())
    start = distributed.get_rank() * length
    part = rows[start : start + length]
    padded: Rows = rows[:1].repeat(length)
    padded[: len(part)] = part
    return padded


def all_gather(part: Tensor, count: int) -> Tensor:
    """All processes' parts, one after the other, without what was filled up.

    Args:
        part: ``[length, ...]``, of what [shard][labelattack.training.distributed.shard] gave.
        count: How many rows there are in all.

    Returns:
        ``[count, ...]``, the same in every process; not differentiable.
    """
    part = part.detach()
    if world_size() == 1:
        return part
    # Of torch 2.4, collectives write in threads that are never in inference mode.
    with torch.inference_mode(False):
        parts = [torch.empty_like(part) for _ in range(world_size())]
    distributed.all_gather(parts, part.contiguous())
    return torch.cat(parts)[:count]


def whole_batch(
    logits: Tensor, positives: Tensor, negatives: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The batches of all processes, one after the other, the same in each process.

    The gradient at this process's logits is as many times larger as there are processes, so that
    those that average theirs have the gradient of the whole batch.

    Args:
        logits: Float ``[batch, labels]``; batches may differ in length.
        positives: bool ``[batch, labels]``.
        negatives: bool ``[batch, labels]``.
        rows: int64 ``[batch]``.
    """
    if (size := world_size()) == 1:
        return logits, positives, negatives, rows
    length = torch.tensor([len(logits)], device=logits.device)
    lengths = [int(n) for n in all_gather(length, size)]
    codes = positives.to(torch.int8) - negatives.to(torch.int8)
    parts = []
    for part in (logits, codes, rows):
        padded = part.new_zeros(max(lengths), *part.shape[1:])
        padded[: len(part)] = part.detach()
        every = torch.split(all_gather(padded, size * len(padded)), len(padded))
        parts.append([one[:n] for one, n in zip(every, lengths, strict=True)])
    own = distributed.get_rank()
    parts[0][own] = logits.clone()
    if logits.requires_grad:
        parts[0][own].register_hook(lambda slope: slope * size)  # type: ignore[no-untyped-call]
    whole, codes, rows = (torch.cat(each) for each in parts)
    return whole, codes > 0, codes < 0, rows


def local_shard(whole: Tensor, length: int) -> Tensor:
    """This process's rows of ``whole`` ``[count, ...]``; zeros where rows were filled up."""
    if world_size() == 1:
        return whole
    start = distributed.get_rank() * length
    part = whole[start : start + length]
    padded = whole.new_zeros(length, *whole.shape[1:])
    padded[: len(part)] = part
    return padded


def data_parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, with gradients averaged over processes.

    On CUDA batch normalisation sees the batches of all of them; elsewhere torch has no such layer.
    """
    if world_size() == 1:
        return network
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(network)
