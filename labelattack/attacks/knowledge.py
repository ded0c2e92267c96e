"""Knowledge of an attacker beside the labels: each kind is computed when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import AttackError, PluginError, unknown
from labelattack.labels import PartialLabels
from labelattack.labels.objects import ImageObjects as ImageObjects
from labelattack.labels.objects import Objects as Objects
from labelattack.labels.side_lookup import TABLES, table_of

if TYPE_CHECKING:
    from labelattack.attacks.base import Attack

Need = Literal["scores", "features", "held_out", "areas", "boxes", "groups", "weights"]
SURROGATE_VERSION = 1
"""Version of the surrogate and its features, which counts in that of attacks that use them."""

NEEDS: dict[Need, str] = {
    "scores": "a score of each label on each image, by a surrogate model trained on clean labels",
    "features": "features of each image",
    "held_out": "features and clean labels of images that are not attacked",
    "areas": "the share of each image that the objects of each class cover",
    "boxes": "boxes of the objects of each image, with their classes",
    "groups": "the group of each image",
    "weights": "a weight of each class",
}
"""Each kind of knowledge in words."""


class HeldOut(NamedTuple):
    """Images that are not attacked, by which an attacker measures damage.

    Attributes:
        features: float32 ``[images, channels]``.
        labels: Their labels.
    """

    features: NDArray[np.float32]
    labels: PartialLabels


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Knowledge of the attacked images, in their order; reading what is not there is an error.

    Attributes:
        sources: For each kind, a function that computes it.
    """

    sources: Mapping[Need, Callable[[], Any]] = field(default_factory=dict)
    _found: dict[Need, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, **values: Any) -> Knowledge:
        """Knowledge that is there already: ``Knowledge.of(scores=array)``.

        Args:
            **values: Value of each kind.

        Raises:
            UnknownNameError: If there is no such kind.
        """
        for name in values:
            if name not in NEEDS:
                raise unknown("kind of knowledge", name, NEEDS)
        return cls({name: partial(_same, value) for name, value in values.items()})  # type: ignore[misc]

    @property
    def scores(self) -> NDArray[np.float32]:
        """Score of each label by a model, in [0, 1], float32 ``[images, labels]``."""
        return self._get("scores")  # type: ignore[no-any-return]

    @property
    def features(self) -> NDArray[np.float32]:
        """Pooled features of a frozen backbone, float32 ``[images, channels]``."""
        return self._get("features")  # type: ignore[no-any-return]

    @property
    def held_out(self) -> HeldOut:
        """Images that are not attacked, with their features and labels."""
        return self._get("held_out")  # type: ignore[no-any-return]

    @property
    def areas(self) -> NDArray[np.float32]:
        """Share of an image covered by each class, float32 ``[images, labels]``, from 0."""
        return self._get("areas")  # type: ignore[no-any-return]

    @property
    def boxes(self) -> Objects:
        """Objects of each image."""
        return self._get("boxes")  # type: ignore[no-any-return]

    @property
    def groups(self) -> tuple[str, ...]:
        """Patient, recording, location ... of each image."""
        return self._get("groups")  # type: ignore[no-any-return]

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each class, in [0, 1], float64 ``[labels]``."""
        return self._get("weights")  # type: ignore[no-any-return]

    def _get(self, need: Need) -> Any:
        if need not in self._found:
            if need not in self.sources:
                raise AttackError(f"knowledge of {need} must be declared in 'needs' of the attack")
            self._found[need] = self.sources[need]()
        return self._found[need]

    def for_attack(self, attack: Attack, labels: PartialLabels) -> Knowledge:
        """The kinds that an attack declares, from the files that its parameters name or from here.

        Args:
            attack: The attack.
            labels: Labels under attack, whose names files are matched to.

        Raises:
            AttackError: If one is neither in a file nor here; when it is read, if it does not fit
                the labels' shape, or a number is not finite.
        """
        found: dict[Need, Callable[[], Any]] = {}
        who = f"attack '{name_of(attack)}'"
        for need in attack.needs:
            if path := file_of(attack, need):
                found[need] = partial(table_of, need, path, labels, who)
            elif need in self.sources:
                found[need] = partial(self._checked, need, labels.shape, who)
            else:
                raise AttackError(lacking_text(attack, need))
        return Knowledge(found)

    def _checked(self, need: Need, shape: tuple[int, int], who: str) -> Any:
        """A kind, if it fits labels of a shape."""
        value = self._get(need)
        images, labels = shape
        wanted = {"scores": shape, "areas": shape, "weights": (labels,), "groups": (images,)}
        if need in wanted and (got := np.shape(value)) != wanted[need]:
            raise AttackError(f"{need} for {who} must have shape {wanted[need]}, got {got}")
        if need == "features" and len(value) != images:
            raise AttackError(f"features for {who} must have {images} rows, got {len(value)}")
        if need in _NUMBERS and not np.isfinite(value).all():
            raise AttackError(f"{need} for {who} must be finite numbers, got NaN or infinity")
        return value


NOTHING = Knowledge()
"""Nothing is known beside the labels."""


def file_of(attack: Attack, need: Need) -> str | None:
    """File that a parameter of an attack names for a kind of knowledge; None for none."""
    return getattr(attack, need, None)


def asked_needs(attack: Attack) -> tuple[Need, ...]:
    """Kinds of knowledge that an attack needs and that none of its parameters gives."""
    return tuple(need for need in attack.needs if not file_of(attack, need))


def lacking_text(attack: Attack, need: Need) -> str:
    """Message that an attack lacks a kind of knowledge, and how to give it."""
    name = name_of(attack)
    ways = []
    if need in TABLES:
        ways.append(f"give them as {name}:{need}=FILE (.csv, .parquet{', .npz' * (need in _NPZ)})")
    ways += _OTHERWISE.get(need, [])
    return f"attack '{name}' needs {NEEDS[need]}, got none; {', or '.join(ways)}"


def name_of(attack: Attack) -> str:
    """Registered name of an attack; that of its class if it has none."""
    from labelattack.attacks import registry

    try:
        return registry.name_of(type(attack))
    except PluginError:
        return type(attack).__name__


_NPZ = ("scores", "areas")
_NUMBERS = ("scores", "areas", "weights", "features")
_IMAGES = "give the images ('labelattack attack --images FOLDER', or a dataset of 'bench')"
_ANNOTATED = (
    "use a dataset whose annotations have boxes (coco, lvis, voc with its XML files, digits)"
)
_OTHERWISE: dict[Need, list[str]] = {
    "scores": [_IMAGES],
    "features": [_IMAGES],
    "held_out": ["run it by 'bench', which has a validation split"],
    "areas": [_ANNOTATED],
    "boxes": [_ANNOTATED],
    "groups": ["use a dataset that has groups"],
}


def _same(value: Any) -> Any:
    return value
