"""Objectives of evasion attacks on multi-label models, and their gradients as ART asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from art.estimators.classification.classifier import ClassGradientsMixin
from art.estimators.pytorch import PyTorchEstimator
from numpy.typing import NDArray
from torch import Tensor

from labelattack.defenses.base import cross_entropy
from labelattack.errors import LabelError, ParameterError, shown

Array = NDArray[Any]
Objective = Literal["cross-entropy", "margin"]


def _mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits, targets).mean(1)


def _margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean logit of absent labels minus that of present ones; of no labels, 0 stands for it."""
    absent, present = (
        (logits * those).sum(1) / those.sum(1).clamp(min=1) for those in (1 - targets, targets)
    )
    return absent - present


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": _mean_cross_entropy,
    "margin": _margin,
}
"""From logits and targets, float ``[batch, labels]``, one number an image, ``[batch]``."""


class LogitGradients(ClassGradientsMixin, PyTorchEstimator):  # type: ignore[misc]
    """The part of an estimator that evasion attacks climb; its subclass sets what is declared."""

    _objective: Objective
    _device: torch.device

    def compute_loss(
        self, x: Array, y: Array, reduction: str = "none", **kwargs: Any
    ) -> NDArray[np.float32]:
        """Objective that evasion attacks raise.

        Args:
            x: Inputs, ``[images, *input_shape]``.
            y: Targets, ``[images, nb_classes]``, present where positive.
            reduction: ``none``; or ``mean`` or ``sum`` over images.
            **kwargs: ``training_mode``.

        Returns:
            float32 ``[images]``, or a scalar.

        Raises:
            LabelError: If ``y`` has another shape, or NaN.
            ParameterError: If the reduction is unknown.
        """
        if reduction not in ("none", "mean", "sum"):
            raise ParameterError(f"reduction must be none, mean or sum, got {shown(reduction)}")
        self._mode(kwargs)
        with torch.no_grad():
            logits = self._model(self._prepared(x)).float()
            each = OBJECTIVES[self._objective](logits, self._targets(x, y))
        value = each if reduction == "none" else getattr(each, reduction)()
        return np.asarray(value.cpu().numpy())

    def loss_gradient(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Gradient of what ``compute_loss`` gives.

        Each image has its own: neither the other images nor their number matter.

        Args:
            x: Inputs, ``[images, *input_shape]``, an array or a tensor.
            y: Targets, ``[images, nb_classes]``, present where positive.
            **kwargs: ``training_mode``.

        Returns:
            float32 of the shape and kind of ``x``.

        Raises:
            LabelError: If ``y`` has another shape, or NaN.
        """
        self._mode(kwargs)
        targets = self._targets(x, y)
        objective = OBJECTIVES[self._objective]
        (found,) = self._gradients(x, lambda logits: [objective(logits, targets).sum()])
        return found if isinstance(x, Tensor) else found.cpu().numpy()

    def class_gradient(
        self, x: Array, label: int | Sequence[int] | Array | None = None, **kwargs: Any
    ) -> NDArray[np.float32]:
        """Gradients of the logits.

        Args:
            x: Inputs, ``[images, *input_shape]``.
            label: Which label's: one for all images, one for each, or None for every label.
            **kwargs: ``training_mode``.

        Returns:
            float32 ``[images, nb_classes, *input_shape]``; of one label,
            ``[images, 1, *input_shape]``.

        Raises:
            ParameterError: If a label is out of range, or there are not as many as images.
        """
        self._mode(kwargs)
        if label is None:
            found = self._gradients(x, lambda logits: list(logits.sum(0)))
            return torch.stack(found, 1).cpu().numpy()
        chosen = np.asarray(label)
        if (
            chosen.dtype.kind not in "iu"
            or chosen.shape not in ((), (len(x),))
            or not ((chosen >= 0) & (chosen < self.nb_classes)).all()
        ):
            raise ParameterError(
                f"label must be an integer from 0 to {self.nb_classes - 1}, or one for each of "
                f"{len(x)} images, got {shown(label)}"
            )
        column = torch.from_numpy(np.broadcast_to(chosen, len(x)).astype(np.int64))
        column = column.to(self._device)[:, None]
        (one,) = self._gradients(x, lambda logits: [logits.gather(1, column).sum()])
        return one[:, None].cpu().numpy()

    def _mode(self, asked: dict[str, Any]) -> None:
        self._model.train(bool(asked.get("training_mode", False)))

    def _tensor(self, x: Any) -> Tensor:
        tensor = x if isinstance(x, Tensor) else torch.tensor(np.asarray(x, np.float32))
        return tensor.to(self._device, torch.float32)

    def _prepared(self, x: Any, *, graph: bool = False) -> Tensor:
        """Inputs as the model takes them."""
        if self.all_framework_preprocessing:
            given: Any = self._tensor(x)
        else:
            given = np.asarray(x, np.float32)
        return self._tensor(self._apply_preprocessing(given, None, False, no_grad=not graph)[0])

    def _targets(self, x: Any, y: Any) -> Tensor:
        targets = torch.as_tensor(y).to(self._device)
        if targets.shape != (len(x), self.nb_classes):
            raise LabelError(
                f"y must be multi-hot of shape {(len(x), self.nb_classes)}, got "
                f"{tuple(targets.shape)}"
            )
        if targets.is_floating_point() and targets.isnan().any():
            raise LabelError("y must be multi-hot, got NaN")
        return (targets > 0).float()

    def _gradients(self, x: Any, scalars: Any) -> list[Tensor]:
        """Gradients at the raw inputs of some scalars of the logits."""
        through = self.all_framework_preprocessing
        given = self._tensor(x).detach() if through else self._prepared(x)
        given.requires_grad_()
        inputs = (
            self._apply_preprocessing(given, None, False, no_grad=False)[0] if through else given
        )
        values = scalars(self._model(inputs).float())
        found = [
            torch.autograd.grad(value, given, retain_graph=number + 1 < len(values))[0]
            for number, value in enumerate(values)
        ]
        if through:
            return found
        raw = np.asarray(x, np.float32)
        return [
            self._tensor(self._apply_preprocessing_gradient(raw, one.cpu().numpy()))
            for one in found
        ]
