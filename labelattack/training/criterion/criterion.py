"""A loss for partial labels as a criterion of any training loop: ``criterion(logits, target)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from labelattack import defenses
from labelattack.defenses.base import PartialLabelLoss, Reduction
from labelattack.defenses.task import Step, Task, to_step
from labelattack.errors import DefenseError, ParameterError, PluginError, shown
from labelattack.labels import (
    NO_SIDE_TABLES,
    Encoding,
    PartialLabels,
    SideTables,
    check_encoding,
)  # fmt: skip
from labelattack.labels.containers.read import contained
from labelattack.models.activation_head import ActivationHead
from labelattack.training.criterion.blank import blank_task
from labelattack.training.criterion.inputs import (
    NO_ROW,
    Index,
    UntoldStep,
    check_logits,
    rows_of,
    targets,
)
from labelattack.training.criterion.parameter_use import ParameterUse
from labelattack.training.distributed import whole_batch, world_size
from labelattack.training.optimizer import AdamSettings


class Criterion(nn.Module):
    """A registered loss, called as the losses of torch are.

        criterion = Criterion("wan")
        criterion(logits, target).backward()

        criterion = Criterion("role", labels=labels, expected_positives=1.5)
        optimizer = Adam([{"params": network.parameters()}, *criterion.parameter_groups(lr)], lr)
        criterion(logits, target, index).backward()

    Some losses keep something of each training image, such as a table of estimates. They must be
    given the training labels once (``labels``, or ``bind``), and with each batch the rows of its
    images in them (``index``). Some learn parameters, which an optimiser must hold
    (``parameter_groups``), read the epoch (``set_epoch``), or want the predictions of all training
    images after each epoch (``end_epoch``). What is forgotten is an error, never another number.

    Losses are computed in float32. In a group of several processes, the batches of all of them are
    one batch, in its value and in what is kept of each image; gradients are right where processes
    average theirs, as ``DistributedDataParallel`` does. All of them must make the same calls.

    The state is in the ``state_dict``; a criterion without labels takes it as well, and may be
    bound to the same labels later without losing it.

    Args:
        loss: Name or spec, such as ``role:lr_scale=5``, or a loss.
        labels: Training labels, ``[images, labels]``: partial labels, or an array, tensor, data
            frame or sparse matrix in ``encoding``.
        encoding: How targets write labels: by default, 1 present, 0 absent, -1 unknown. Where 0
            means unknown, say ``signed``: 1 present, -1 absent, 0 unknown.
        reduction: ``mean``, ``sum`` or ``none``, where the loss allows it; None for the loss's own.
        seed: Seed of whatever the loss initialises at random.
        side: Side tables, for losses that use them and are given no file.
        head: The head that a loss with an ``activation_scale`` needs in the network.
        check: Whether to check each batch: codes of targets, targets against the bound labels, the
            range of the index, and whether an optimiser holds the loss's parameters. On a GPU each
            check waits for the device.
        **parameters: Of the loss, as in a spec.

    Attributes:
        loss: The loss.

    Raises:
        UnknownNameError: If there is no such loss or encoding.
        ParameterError: If a parameter is wrong, or the loss does not allow the reduction.
        LabelError: If the labels cannot be decoded.
        DefenseError: If the loss needs something else that is not given.

    Example:
        >>> import torch
        >>> from labelattack import Criterion
        >>> logits, target = torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, -1, 1]])
        >>> round(Criterion("iu")(logits, target).item(), 3)
        0.462
    """

    bound_shape: Tensor

    def __init__(
        self,
        loss: str | PartialLabelLoss,
        *,
        labels: Any = None,
        encoding: Encoding = "missing",
        reduction: Reduction | None = None,
        seed: int = 0,
        side: SideTables = NO_SIDE_TABLES,
        head: ActivationHead | None = None,
        check: bool = True,
        **parameters: Any,
    ) -> None:
        super().__init__()
        check_encoding(encoding)
        self.loss = _created(loss, parameters)
        self.encoding: Encoding = encoding
        self.reduction = reduction
        self.check = check
        self.labels: PartialLabels | None = None
        self._seed, self._side = seed, side
        self._allocated = False
        self._epoch: tuple[int, int] | None = None
        self._begun = False  # images of this epoch were seen, and its end is not told
        self._use = ParameterUse()
        allowed = self.loss.reductions()
        if reduction is not None and reduction not in allowed:
            because = "" if allowed[1:] else ", as the loss is no mean or sum over entries"
            raise ParameterError(
                f"reduction of {self.name} must be {' or '.join(allowed)}{because}, got "
                f"{shown(reduction)}"
            )
        _check_head(self.name, self.loss.activation_scale, head)
        if labels is not None:
            self.bind(labels)

    @property
    def name(self) -> str:
        """Kind and registered name of the loss, or the name of its class."""
        try:
            return f"defense '{defenses.registry.name_of(type(self.loss))}'"
        except PluginError:
            return type(self.loss).__name__

    @property
    def needs_labels(self) -> bool:
        """Whether the loss must be given the training labels."""
        return type(self.loss).bind is not PartialLabelLoss.bind

    @property
    def needs_index(self) -> bool:
        """Whether the loss keeps something of each image, and must be told which images it gets."""
        return self.needs_labels and self.loss.per_image_state is not False

    def bind(self, labels: Any) -> Self:
        """Gives the loss the training labels; state that was loaded before stays.

        Args:
            labels: Partial labels, or a matrix ``[images, labels]`` in the criterion's encoding.

        Returns:
            The criterion.

        Raises:
            LabelError: If the labels cannot be decoded.
            DefenseError: If they were given before, the state has another shape, or the loss needs
                something else.
        """
        if self.labels is not None:
            raise DefenseError(f"{self.name} must be given its labels once, got them twice")
        if not isinstance(labels, PartialLabels):
            labels = contained(labels, self.encoding).labels
        loaded = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        if loaded and tuple(self.bound_shape.tolist()) != labels.shape:
            raise DefenseError(
                f"labels of {self.name} must have the shape of its state, "
                f"{self.bound_shape.tolist()}, got {list(labels.shape)}"
            )
        if not loaded:
            self._allocate(labels, self._side)
        self.labels = labels
        return self

    def parameter_groups(self, lr: float, **options: Any) -> list[dict[str, Any]]:
        """Groups of the loss's own parameters, not decayed, for an optimiser; [] for most losses.

        Args:
            lr: Learning rate of the network, of which the loss's is a multiple.
            **options: Further options of the group.

        Raises:
            DefenseError: If the loss has no labels yet.
        """
        self._check_ready()
        own = list(self.loss.parameters())
        settings = asdict(AdamSettings(lr * self.loss.lr_scale))
        return [{"params": own, **settings, **options}] if own else []

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Tells the epoch; losses that read it must be told each.

        Args:
            epoch: Current epoch, 1 to ``epochs``.
            epochs: Epochs in all.

        Raises:
            ParameterError: If the epoch is out of range.
            DefenseError: If the loss needed ``end_epoch`` after the epoch before.
        """
        if not 1 <= epoch <= epochs:
            raise ParameterError(f"epoch must be in 1..{epochs}, got {epoch}")
        if self._begun and self.loss.ends_epochs() and self._epoch != (epoch, epochs):
            raise DefenseError(
                f"{self.name} needs the logits of all training images after each epoch, got none; "
                "call end_epoch(logits) before the next"
            )
        self._epoch = epoch, epochs

    @torch.no_grad()
    def end_epoch(self, logits: Tensor) -> None:
        """Ends an epoch; does nothing for losses that do not choose among all images.

        Args:
            logits: Of all training images in their order, from the network in evaluation mode and
                without augmentation, ``[images, labels]``.

        Raises:
            DefenseError: If the labels are not given, or logits and labels differ in shape.
        """
        self._begun = False
        if not self.loss.ends_epochs():
            return
        if self.labels is None or self.labels.shape != tuple(logits.shape):
            wanted = "given" if self.labels is None else f"of shape {list(self.labels.shape)}"
            raise DefenseError(
                f"labels and logits of all training images must be {wanted} for the end of an "
                f"epoch of {self.name}, got logits {list(logits.shape)}"
            )
        rows = torch.arange(len(logits), device=logits.device)
        every = to_step(self.labels, rows)
        self.loss.end_epoch(
            logits.detach().float(), self._step(every.positives, every.negatives, rows)
        )

    def forward(
        self, logits: Tensor, target: Tensor | None = None, index: Index | None = None
    ) -> Tensor:
        """Computes the loss of a batch.

        Args:
            logits: Of any floating dtype, ``[batch, labels]``.
            target: Labels in the criterion's encoding, of any dtype, ``[batch, labels]``; None for
                those that were given, at ``index``.
            index: Row of each image in the training set, ``[batch]``; not needed by losses that
                keep nothing of an image.

        Returns:
            float32 scalar, or ``[batch, labels]`` without a reduction.

        Raises:
            DefenseError: If the loss has no labels, needs an index and gets none, reads the epoch
                and is not told it, lies on another device, or has parameters in no optimiser.
            LabelError: If a target is no code of the encoding, or not the label that was given.
        """
        self._check_ready(logits.device)
        check_logits(logits)
        check = self.check and not torch.compiler.is_compiling()
        rows = rows_of(index, logits, self.labels if check else None)
        if rows is None and (self.needs_index or target is None):
            raise DefenseError(
                f"index must be given for {self.name}, as the row of each image of the batch in "
                "the training labels, got none; call criterion(logits, target, index)"
            )
        positives, negatives = targets(target, self.encoding, logits, rows, self.labels, check)
        if check and self.training and torch.is_grad_enabled():
            self._use.check(self.name, self.loss)
        self._begun |= self.training
        if rows is None:
            rows = torch.full((len(logits),), NO_ROW, device=logits.device)
        if world_size() > 1 and self.reduction == "none":
            raise DefenseError("reduction must be mean or sum in several processes, got none")
        whole, positives, negatives, rows = whole_batch(logits.float(), positives, negatives, rows)
        with torch.autocast(logits.device.type, enabled=False):
            value: Tensor = self.loss(whole, self._step(positives, negatives, rows), self.reduction)
        return value

    def extra_repr(self) -> str:
        """Encoding and reduction."""
        return f"encoding={self.encoding}, reduction={self.reduction or self.loss.reduction}"

    def _step(self, positives: Tensor, negatives: Tensor, rows: Tensor) -> Step:
        if self._epoch is None and self.loss.uses_epoch is not False:
            return UntoldStep(self.name, positives=positives, negatives=negatives, index=rows)
        epoch, epochs = self._epoch or (1, 1)
        return Step(
            positives=positives, negatives=negatives, index=rows, epoch=epoch, epochs=epochs
        )

    def _allocate(self, labels: PartialLabels, side: SideTables) -> None:
        """Has the loss allocate its state, on torch's default device."""
        place = torch.get_default_device()
        task = Task(labels=labels, seed=self._seed, side=side.only(self.loss.side_tables))
        with torch.device("cpu"):
            self.loss.bind(task)
            if self.loss.state_dict():
                self.register_buffer("bound_shape", torch.tensor(labels.shape))
        self.to(place)
        self._allocated = True

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **named: Any
    ) -> None:
        """Allocates the state before it is loaded, if no labels were given."""
        shape = state_dict.get(f"{prefix}bound_shape")
        if shape is not None and not self._allocated:
            with blank_task(self.loss, tuple(shape.tolist()), self._side) as (labels, side):
                self._allocate(labels, side)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def _check_ready(self, device: torch.device | None = None) -> None:
        """Raises DefenseError unless the loss has its state, on the device of the logits."""
        if self.needs_labels and not self._allocated:
            raise DefenseError(
                f"training labels must be given to {self.name} before its first step, got none; "
                f"say Criterion(..., labels=...), or call bind(labels)"
            )
        own = next(chain(self.loss.parameters(), self.loss.buffers()), None)
        if device is not None and own is not None and own.device != device:
            raise DefenseError(
                f"{self.name} must be on {device}, where the logits are, got {own.device}; call "
                f"criterion.to('{device}') before the optimiser is made"
            )


def _created(loss: str | PartialLabelLoss, parameters: Mapping[str, Any]) -> PartialLabelLoss:
    if isinstance(loss, str):
        return defenses.create(loss, **parameters)
    if not isinstance(loss, PartialLabelLoss):
        raise ParameterError(f"loss must be a name, a spec or a loss, got {shown(loss)}")
    if parameters:
        raise ParameterError(f"loss must be a name to take parameters, got {shown(loss)}")
    return loss


def _check_head(name: str, scale: float, head: ActivationHead | None) -> None:
    """Raises DefenseError unless the network's head multiplies activations as the loss wants."""
    given = 1.0 if head is None else float(head.scale)
    if given != scale:
        raise DefenseError(
            f"head must multiply positive class activations by {scale:g} for {name}, got "
            f"{given:g}; put labelattack.models.activation_head.ActivationHead(head, {scale:g}) "
            "into the network, and give it as Criterion(..., head=...)"
        )
