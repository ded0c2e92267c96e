"""Weights files: state dicts of training scripts, and loading them into a network."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labelattack.errors import ModelError
from labelattack.files.storage import expanded, is_file

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "network.", "net.", "encoder.")
_FILLED_IN = "num_batches_tracked"  # filled in by torch for files too old to have it
_TOLD = 3


def load_weights(network: nn.Module, path: str, *, ignore: tuple[str, ...] = ()) -> None:
    """Loads weights from a file without running code from it.

    Args:
        network: Network that receives the weights.
        path: File for [read_weights][labelattack.models.weights.read_weights].
        ignore: Prefixes of keys that are dropped, such as those of the old head.

    Raises:
        ModelError: If the file is absent, unreadable, or does not fit.
    """
    fit(
        network, read_weights(path), f"weights '{expanded(path)}' must fit the model", ignore=ignore
    )


def fit(
    network: nn.Module, state: Mapping[str, Tensor], rule: str, *, ignore: tuple[str, ...] = ()
) -> None:
    """Loads a state dict into a network.

    Keys may have prefixes of wrappers, such as ``module.`` or ``_orig_mod.``, also several in a
    row. Keys that the network lacks are left out with a warning.

    Args:
        network: Network that receives the weights.
        state: State dict.
        rule: Beginning of error messages: the origin of the weights and what they must fit.
        ignore: Prefixes of keys that are dropped, such as those of the old head.

    Raises:
        ModelError: If a key of the network is missing or a tensor has another shape, or if two
            parts of the state dict fit.
    """
    wanted = {
        k: v for k, v in network.state_dict().items() if not (ignore and k.startswith(ignore))
    }
    prefix = _prefix(state, wanted, rule)
    given = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    given = {k: v for k, v in given.items() if not (ignore and k.startswith(ignore))}
    unused = [key for key in given if key not in wanted]
    unused += [key for key in state if not key.startswith(prefix)]
    if missing := _lacking(wanted, given):
        raise ModelError(f"{rule}; missing {_some(missing)}; unexpected {_some(unused)}")
    odd = [key for key in given if key in wanted and given[key].shape != wanted[key].shape]
    if odd:
        expected, got = list(wanted[odd[0]].shape), list(given[odd[0]].shape)
        more = f"; {len(odd) - 1} more differ" if odd[1:] else ""
        raise ModelError(f"{rule}; '{odd[0]}' must have shape {expected}, got {got}{more}")
    if unused:
        warnings.warn(f"{rule}; not used: {_some(unused)}", stacklevel=2)
    network.load_state_dict({k: v for k, v in given.items() if k in wanted}, strict=False)


def missing_entries(network: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Number of a network's entries that a state dict lacks, whatever its wrappers.

    Raises:
        ModelError: If two parts of the state dict fit.
    """
    wanted = network.state_dict()
    prefix = _prefix(state, wanted, "weights must fit the model")
    return len(_lacking(wanted, {key.removeprefix(prefix) for key in state}))


def without_prefixes(name: str) -> str:
    """Name of an entry without what wrappers put before it."""
    return name[max(_ends_of_prefixes(name), default=0) :]


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rule: str) -> str:
    """Prefix of the network's keys in a state dict; the nearest one if none fits."""
    prefixes = list(
        dict.fromkeys(["", *(key[:end] for key in state for end in _ends_of_prefixes(key))])
    )
    rests = {
        prefix: {key.removeprefix(prefix) for key in state if key.startswith(prefix)}
        for prefix in prefixes
    }
    fitting = [prefix for prefix, rest in rests.items() if not _lacking(wanted, rest)]
    if len(fitting) > 1 and fitting[0]:
        raise ModelError(f"{rule} in one part, got {' and '.join(fitting)}")
    nearest = max(prefixes, key=lambda prefix: len(rests[prefix] & wanted.keys()))
    return fitting[0] if fitting else nearest


def _ends_of_prefixes(key: str) -> list[int]:
    ends, end = [], 0
    while first := next((p for p in PREFIXES if key.startswith(p, end)), None):
        end += len(first)
        ends.append(end)
    return ends


def _lacking(wanted: Mapping[str, Tensor], given: Collection[str]) -> list[str]:
    return [key for key in wanted if key not in given and not key.endswith(_FILLED_IN)]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD]) or 'none'}{more}"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict without running code from the file.

    Args:
        path: A ``.safetensors`` file, or a file saved by torch with a state dict at the top level
            or under one key, such as ``state_dict``, ``model`` or ``model_state_dict``.

    Raises:
        ModelError: If the file is absent, unreadable, or holds anything else.
    """
    file = expanded(str(path))
    if not is_file(file):
        raise ModelError(f"weights must be a file, got '{file}', which is not there")
    try:
        with file.open("rb") as opened:
            head = opened.read(200)
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"weights '{file}' cannot be loaded: {error}") from error
    except Exception as error:  # torch's own message advises to run the code in the file
        reason = not_weights(head) or damage(error)
        if head.startswith(b"PK") and not zipfile.is_zipfile(file):
            reason = "it is cut short"
        raise ModelError(f"weights '{file}' cannot be loaded: {reason}") from None
    return _state_dict(loaded, file)


def not_weights(head: bytes) -> str:
    """Reason why a file holds no weights, from its first bytes; empty if it may hold some."""
    start = head.lstrip().lower()
    if not head:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; git lfs pull fetches that"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; download the file itself"
    return ""


def damage(error: Exception) -> str:
    """Reason why a file cannot be read as plain tensors."""
    refused = re.search(
        r"(?:GLOBAL|global|class|function)[: ]+`?([A-Za-z_]\w*(?:\.\w+)+)", str(error)
    )
    if isinstance(error, pickle.UnpicklingError) and refused is not None:
        return (
            f"it holds {refused[1]}, and may hold tensors alone; where it was made, save the state "
            "dict: torch.save(model.state_dict(), FILE)"
        )
    return "it is cut short, damaged, or no file of weights"


def _state_dict(loaded: Any, file: Path) -> dict[str, Tensor]:
    if _is_state_dict(loaded):
        return dict(loaded)
    entries = loaded if isinstance(loaded, Mapping) else {}
    keys = [key for key, value in entries.items() if _is_state_dict(value)]
    if len(keys) == 1:
        return dict(entries[keys[0]])
    if keys:
        names = " and ".join(map(str, keys))
        reason = f"one state dict, got {names}; save the one that is meant in a file of its own"
    else:
        holding = f" of {_some([str(key) for key in entries])}" if entries else ""
        reason = f"a state dict, got {type(loaded).__name__}{holding}"
    raise ModelError(f"weights '{file}' must hold {reason}")


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )
