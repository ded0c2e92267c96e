"""A device that computes on the CPU and refuses tensors that are not its own, as a GPU does.

Code that makes a tensor on the CPU where its inputs are on a GPU works until somebody has a GPU.
On this device it fails at once, on any machine, and what works gives what the CPU gives to the last
bit. It says nothing of a GPU's own kernels, rounding or speed.

Importing this module registers it with torch for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from labelattack.errors import PluginError

NAME = "simulated"
_KEY = "PrivateUse1"  # torch's key of a backend that somebody adds
_ATEN: Any = torch.ops.aten
_COPIES = _ATEN._to_copy, _ATEN.copy_
_INDEXED = _ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_
# Torch calls these without asking for the fallback for all operations.
_MADE: dict[str, OpOverload] = {
    "empty.memory_format": _ATEN.empty.memory_format,
    "empty_strided": _ATEN.empty_strided.default,
    "copy_": _ATEN.copy_.default,
    "_to_copy": _ATEN._to_copy.default,
}


_REGISTERED: list[Any] = []  # torch forgets each of these when it goes


def simulated_device() -> torch.device | None:
    """The device ``simulated``; None if this process cannot have it.

    Older releases of torch cannot, nor can a process that has another backend which is not torch's
    own, or that differentiated something before this module was imported.
    """
    return _DEVICE


@contextmanager
def same_device_required() -> Iterator[None]:
    """Says of an error in the block that whatever is tested leaves the device of its inputs.

    Raises:
        PluginError: In place of torch's own errors.
    """
    try:
        yield
    except (RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(f"must compute on the device of its inputs: {reason}") from error


class DeviceTensor(Tensor):
    """A tensor of the simulated device.

    Attributes:
        on_cpu: The same numbers on the CPU; views share them.
    """

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> DeviceTensor:
        """Wraps a tensor of the CPU, whose memory it shares."""
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls, on_cpu.shape, strides=on_cpu.stride(), storage_offset=on_cpu.storage_offset(),
            dtype=on_cpu.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.on_cpu = on_cpu
        return made

    def __init__(self, on_cpu: Tensor) -> None:
        """See ``__new__``."""

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """The numbers and the device."""
        return f"{self.on_cpu!r} on {self.device}"

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls torch, without giving results the class of an argument."""
        if func is Tensor.tolist:  # torch has none for subclasses
            return args[0].detach().cpu().tolist()
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Computes one operation."""
        return _computed(func, args, kwargs or {})


def _called(op: OpOverload, *args: Any, **kwargs: Any) -> Any:
    """An operation as torch's dispatcher calls it."""
    return _computed(op, args, kwargs)


def _computed(op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Result of an operation, computed on the CPU."""
    packet, wanted = op.overloadpacket, kwargs.get("device")
    own = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, DeviceTensor)]
    if packet is _ATEN._has_compatible_shallow_copy_type:  # a module asks when it moves
        return len(own) == len(args)
    if own and packet not in _COPIES:
        # Indices may be on the CPU, as on a GPU.
        _require_one_device(op, (args[0], args[2:]) if packet in _INDEXED else (args, kwargs))
    on_cpu = tree_map_only(DeviceTensor, lambda tensor: tensor.on_cpu, (args, dict(kwargs)))
    if wanted is not None:
        on_cpu[1]["device"] = torch.device("cpu")
    found = op(*on_cpu[0], **on_cpu[1])
    there = isinstance(args[0], DeviceTensor) if packet is _ATEN.copy_ else bool(own)
    if not (there if wanted is None else torch.device(wanted).type == NAME):
        return found
    with torch.inference_mode(torch.is_inference_mode_enabled() and not _of_usual(op, own)):
        wrapped = tree_map_only(Tensor, DeviceTensor, found)
    aliased: Any = return_and_correct_aliasing
    return aliased(op, args, kwargs, wrapped) if own and wanted is None else wrapped


def _of_usual(op: OpOverload, own: Sequence[Tensor]) -> bool:
    """Whether the result is a view of a tensor that was not made in inference mode; so is it."""
    views = any(result.alias_info is not None for result in op._schema.returns)
    return views and bool(own) and not own[0].is_inference()


def _require_one_device(op: OpOverload, arguments: Any) -> None:
    """Refuses what a GPU refuses: a tensor of the CPU that is more than a number."""
    for leaf in tree_leaves(arguments):
        if isinstance(leaf, Tensor) and not isinstance(leaf, DeviceTensor) and leaf.dim() > 0:
            raise RuntimeError(
                f"all tensors must be on one device, got one of shape {tuple(leaf.shape)} on the "
                f"CPU in {op}"
            )


class _Module:
    """Functions that torch asks of a device; it draws random numbers on the CPU."""

    is_initialized = staticmethod(lambda: True)
    is_available = staticmethod(lambda: False)
    device_count = staticmethod(lambda: 0)
    current_device = staticmethod(lambda: 0)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])
    _is_in_bad_fork = staticmethod(lambda: False)


def _registered() -> torch.device | None:
    try:
        from torch.utils import backend_registration

        hooks: Any = torch._C._acc.PrivateUse1Hooks

        class _Hook(hooks):  # type: ignore[misc]
            """Says that this is not the accelerator that ``auto`` would take."""

            def is_available(self) -> bool:
                return False

            def has_primary_context(self, device: int) -> bool:
                return True

            def is_built(self) -> bool:
                return True

        hook = _Hook()
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module, hook)
    except (ImportError, AttributeError, RuntimeError):
        return None
    library: Any = torch.library.Library
    everything, aten = library("_", "IMPL"), library("aten", "IMPL")
    everything.fallback(_called, _KEY)
    for name, op in _MADE.items():
        aten.impl(name, partial(_called, op), _KEY)
    _REGISTERED.extend((hook, everything, aten))
    device = torch.device(NAME, 0)
    try:  # autograd counts devices once, when it is first used
        torch.ones(1, device=device, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None
    return device


_DEVICE = _registered()
