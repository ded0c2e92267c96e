"""Our attacks for users of the Adversarial Robustness Toolbox.

Importing this module imports ART, which writes a configuration file under the home folder (or
ART_DATA_PATH); nothing else in the package does.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from art.attacks.attack import PoisoningAttackBlackBox
from numpy.typing import NDArray

from labelattack.attacks import registry
from labelattack.errors import LabelError
from labelattack.labels import Encoding, decode, encode


class LabelRemoval(PoisoningAttackBlackBox):  # type: ignore[misc]  # ART is untyped
    """A label-removal attack behind ART's black-box poisoning interface.

    Args:
        attack: Spec of a registered attack, e.g. ``targeted:rate=0.4``.
        seed: Seed of the attack.
        encoding: How the poisoned labels are written.
    """

    attack_params: ClassVar[list[str]] = [
        *PoisoningAttackBlackBox.attack_params,
        "attack",
        "seed",
        "encoding",
    ]
    _estimator_requirements = ()

    def __init__(self, attack: str, *, seed: int = 0, encoding: Encoding = "signed") -> None:
        super().__init__()
        self.attack = attack
        self.seed = seed
        self.encoding: Encoding = encoding
        self._check_params()

    def _check_params(self) -> None:
        registry.resolve(self.attack)

    def poison(
        self, x: NDArray[Any], y: NDArray[Any] | None = None, **kwargs: Any
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Removes labels; inputs pass through untouched and uncopied.

        Args:
            x: Inputs, any array.
            y: Clean multi-hot labels, 0 and 1, ``[images, labels]``.
            **kwargs: Ignored, for ART's sake.

        Returns:
            ``x`` and the labels that are left, in ``encoding``.

        Raises:
            LabelError: If ``y`` is absent or not multi-hot.
        """
        del kwargs
        if y is None:
            raise LabelError("y must be multi-hot labels [images, labels], got none")
        clean = decode(np.asarray(y), "binary").values
        return x, encode(registry.create(self.attack)(clean, seed=self.seed), self.encoding)
