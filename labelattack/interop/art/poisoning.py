"""Label-removal attacks as ART poisoning attacks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from art.attacks.attack import PoisoningAttackBlackBox
from numpy.typing import NDArray

from labelattack.attacks.base import Attack
from labelattack.attacks.choice import chosen_attack
from labelattack.attacks.knowledge import NOTHING, Knowledge
from labelattack.errors import LabelError
from labelattack.labels import Encoding, check_encoding, decode, encode
from labelattack.seeding import check_seed


class LabelRemoval(PoisoningAttackBlackBox):  # type: ignore[misc]  # ART is untyped
    """A label-removal attack behind ART's black-box poisoning interface.

    ```python
    x, y = LabelRemoval("targeted:rate=0.4").poison(x, y)  # y: 1 present, 0 absent, -1 unknown
    ```

    Args:
        attack: Spec of a registered attack, e.g. ``targeted:rate=0.4``, or an attack.
        seed: Seed of the attack, at least 0.
        knowledge: Scores, boxes ... of the images that are poisoned, for attacks that need some:
            ``Knowledge.of(scores=array)``.
        encoding: Encoding of the poisoned labels. ``missing``, the default, writes 1, 0 and -1 for
            positive, negative and hidden, so that full multi-hot labels are valid in it;
            ``signed``: 1, -1 and 0; ``nan``: 1, 0 and NaN.

    Raises:
        UnknownNameError: If the attack or the encoding is unknown.
        ParameterError: If a parameter of the attack, or the seed, is out of range.
    """

    attack_params: ClassVar[list[str]] = [
        *PoisoningAttackBlackBox.attack_params,
        "attack",
        "seed",
        "knowledge",
        "encoding",
    ]
    _estimator_requirements = ()

    def __init__(
        self,
        attack: str | Attack,
        *,
        seed: int = 0,
        knowledge: Knowledge = NOTHING,
        encoding: Encoding = "missing",
    ) -> None:
        super().__init__()
        self.attack = attack
        self.seed = seed
        self.knowledge = knowledge
        self.encoding: Encoding = encoding
        self._check_params()

    def _check_params(self) -> None:
        chosen_attack(self.attack)
        check_seed(self.seed)
        check_encoding(self.encoding)

    def poison(
        self, x: NDArray[Any], y: NDArray[Any] | None = None, **kwargs: Any
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Removes labels; inputs are returned as they are, not copied.

        Args:
            x: Inputs, any array with as many rows as ``y``; returned as it is.
            y: Clean multi-hot labels, 0 and 1, ``[images, labels]``.
            **kwargs: Ignored; part of ART's interface.

        Returns:
            ``x`` and the remaining labels in ``encoding``, ``[images, labels]``.

        Raises:
            AttackError: If the attack needs knowledge that is not given.
            LabelError: If ``y`` is absent or not multi-hot, or differs from ``x`` in its number of
                rows.
        """
        del kwargs
        if y is None:
            raise LabelError("y must be multi-hot labels [images, labels], got none")
        clean = decode(np.asarray(y), "binary").values
        if x is not None and len(x) != len(clean):
            raise LabelError(f"x and y must have as many rows, got {len(x)} and {len(clean)}")
        attacked = chosen_attack(self.attack)(clean, seed=int(self.seed), knowledge=self.knowledge)
        return x, encode(attacked, self.encoding)
