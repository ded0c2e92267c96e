"""Knowledge that a Python program gives as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelattack.attacks.base import Attack
from labelattack.attacks.knowledge import NEEDS, Knowledge, Need, asked_needs, lacking_text, name_of
from labelattack.errors import AttackError, LabelError, ParameterError
from labelattack.files.names import check_names
from labelattack.labels import PartialLabels
from labelattack.labels.containers.base import is_a, texts_of
from labelattack.labels.files import order_of

# What the rows, and the columns if there are any, of each kind belong to.
_AXES: dict[str, tuple[str, ...]] = {
    "scores": ("image", "class"),
    "areas": ("image", "class"),
    "features": ("image",),
    "groups": ("image",),
    "weights": ("class",),
}
_SHARES = ("scores", "weights")


def is_array(name: str, value: Any) -> bool:
    """Whether an argument is knowledge, and not the path of a file or another parameter."""
    return name in NEEDS and not isinstance(value, str | os.PathLike | None)


def knowledge_of(attack: Attack, arrays: Mapping[Any, Any], labels: PartialLabels) -> Knowledge:
    """Knowledge of the attacked images.

    Args:
        attack: The attack.
        arrays: Each kind that its parameters give no file for: an array in the order of the labels,
            or one of pandas with names; ``boxes`` and ``held_out`` as ``Knowledge`` has them.
        labels: The labels that are attacked.

    Raises:
        AttackError: If the attack needs more.
        ParameterError: If it does not need one, or has a file of it.
        LabelError: If names do not match, or a number is out of range.
    """
    asked = asked_needs(attack)
    for need in arrays:
        if need not in asked:
            reason = "a file gives it too" if need in attack.needs else "it is not used"
            raise ParameterError(
                f"'{need}' must be left out for attack '{name_of(attack)}': {reason}"
            )
    for need in asked:
        if need not in arrays:
            raise AttackError(f"{lacking_text(attack, need)}, or pass an array as {need}=")
    return Knowledge.of(**{need: _fitted(need, value, labels) for need, value in arrays.items()})


def _fitted(need: Need, value: Any, labels: PartialLabels) -> Any:
    """A kind of knowledge with the type that attacks read, in the order of the labels."""
    if need not in _AXES:
        return value
    if is_a(value, "pandas", "DataFrame") or is_a(value, "pandas", "Series"):
        value = _in_order(need, value, labels)
    if is_a(value, "torch", "Tensor"):
        value = value.detach().cpu().numpy()
    if need == "groups":
        return tuple(texts_of("groups", list(value)))
    dtype = np.float64 if need == "weights" else np.float32
    try:
        numbers: NDArray[Any] = np.asarray(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise LabelError(f"{need} must be numbers: {error}") from error
    wrong = numbers[(numbers < 0) | (numbers > 1)] if need in _SHARES else numbers[:0]
    if wrong.size:
        raise LabelError(f"{need} must be from 0 to 1, got {wrong[0]:g} ({wrong.size} such)")
    return numbers


def _in_order(need: Need, value: Any, labels: PartialLabels) -> Any:
    """The array of something of pandas, its rows and columns matched to the labels by name."""
    names: dict[str, Sequence[str] | None] = {"image": labels.ids, "class": labels.classes}
    for axis, what in enumerate(_AXES[need][: value.ndim]):
        own, wanted = [str(name).strip() for name in value.axes[axis]], names[what]
        if wanted is None:
            argument = "image_ids" if what == "image" else "class_names"
            raise LabelError(
                f"{need} of pandas are matched by name, so y must name every {what}, got no "
                f"names; {argument}= gives them, {need}.to_numpy() goes by position"
            )
        try:
            check_names(*((own, ()) if what == "image" else ((), own)))
            value = value.take(order_of(what, own, wanted), axis=axis)
        except LabelError as error:
            raise LabelError(f"{need}: {error}") from error
    return value.to_numpy()
