"""Contract of a defense, and terms that losses share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from labelattack.errors import DefenseError
from labelattack.labels import NO_SIDE_TABLES, PartialLabels, SideTables
from labelattack.registry.torch_defaults import torch_defaults_kept


@dataclass(frozen=True, kw_only=True)
class Task:
    """Public facts of a training run, known before it starts.

    Attributes:
        labels: Attacked training labels, ``[images, labels]``, with ids and class names if known.
        seed: Seed for whatever the loss initialises at random.
        expected_positives: Mean number of positives per image as the dataset declares it;
            privileged knowledge, None where the dataset declares none.
        side: Side tables of the dataset, of the kinds that the loss declares.
        known: Labels before the attack, for an oracle that declares ``sees_attack``; else None.
    """

    labels: PartialLabels
    seed: int = 0
    expected_positives: float | None = None
    side: SideTables = NO_SIDE_TABLES
    known: PartialLabels | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training batch, without any hidden label.

    Attributes:
        positives: Observed positives, bool ``[batch, labels]``.
        negatives: Observed negatives, bool ``[batch, labels]``.
        index: Row of each image in the training set, int64 ``[batch]``.
        epoch: Current epoch, 1 to ``epochs``.
        epochs: Epochs in all.
    """

    positives: Tensor
    negatives: Tensor
    index: Tensor
    epoch: int = 1
    epochs: int = 1

    @property
    def hidden(self) -> Tensor:
        """Cells whose label is not known, bool ``[batch, labels]``."""
        return ~(self.positives | self.negatives)


class EpochlessStep(Step):
    """A step whose epoch cannot be read, for losses that declare ``uses_epoch = False``.

    Args:
        loss: Name of the loss, for the message.
        positives: As of a step.
        negatives: As of a step.
        index: As of a step.
    """

    def __init__(self, loss: str, *, positives: Tensor, negatives: Tensor, index: Tensor) -> None:
        values = {"loss": loss, "positives": positives, "negatives": negatives, "index": index}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def epoch(self) -> int:
        """Refused.

        Raises:
            DefenseError: Always.
        """
        raise self._undeclared("epoch")

    @property
    def epochs(self) -> int:
        """Refused.

        Raises:
            DefenseError: Always.
        """
        raise self._undeclared("epochs")

    def _undeclared(self, name: str) -> DefenseError:
        loss = vars(self)["loss"]
        return DefenseError(
            f"{loss}.loss must not read the epoch, as it declares uses_epoch = False, but reads "
            f"step.{name}; declare uses_epoch = True"
        )


class PartialLabelLoss(nn.Module, ABC):
    """A loss on logits and partial labels.

    Subclass with a keyword-only ``__init__`` whose arguments are the loss's parameters, implement
    [loss][labelattack.defenses.base.PartialLabelLoss.loss], and register it. State per image goes
    into buffers or parameters created in
    [bind][labelattack.defenses.base.PartialLabelLoss.bind], so that it moves and checkpoints with
    the module.

    Attributes:
        version: Raise it whenever the loss's value changes; results of two versions never mix.
        source: Where the loss comes from.
        references: What to cite: keys of ``references.bib`` with spaces between, or BibTeX entries.
        oracle: Whether it must be given the clean labels; it is then a reference, not a defense.
        sees_attack: Whether an oracle trains on attacked labels, told the clean ones beside them
            (``task.known``); otherwise it trains on the clean ones.
        privileged: Whether it uses the dataset's declared number of positives per image.
        side_tables: Kinds of [side tables][labelattack.labels.side_tables.SideTables] that it uses.
            A parameter of that name is the path of a file that has it.
        reduction: Native reduction: ``mean`` over batch and labels, or ``sum``.
        as_mean: Whether a sum is divided by the number of entries, as a recipe may ask.
        lr_scale: Learning rate of the loss's own parameters, as a multiple of the network's.
        activation_scale: Factor of positive class activations, which are the head's outputs at each
            location of the backbone's last map, before they are averaged into logits. The training
            protocol builds the network so; 1 leaves it as it is.
        uses_epoch: Whether ``loss`` reads the step's epoch; None where that is not declared and
            must be found out. Declared False, reading it is an error.
        per_image_state: Whether buffers or parameters have a row for each training image, read at
            the batch's images only; None where that is not declared and must be found out.

    A subclass that has a ``loss`` or ``bind`` of its own inherits neither declaration.
    """

    version: ClassVar[int] = 1
    source: ClassVar[str] = ""
    references: ClassVar[str] = ""
    oracle: ClassVar[bool] = False
    sees_attack: ClassVar[bool] = False
    privileged: ClassVar[bool] = False
    side_tables: ClassVar[tuple[str, ...]] = ()
    reduction: ClassVar[Literal["mean", "sum"]] = "mean"
    as_mean: bool = False
    lr_scale: float = 1.0
    activation_scale: float = 1.0
    uses_epoch: ClassVar[bool | None] = None
    per_image_state: ClassVar[bool | None] = None
    _bound: bool = False

    def __init__(self) -> None:
        super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Has ``bind`` note that it was called, and drops declarations made for other code."""
        super().__init_subclass__(**kwargs)
        if {"loss", "bind"} & vars(cls).keys():
            for name in {"uses_epoch", "per_image_state"} - vars(cls).keys():
                setattr(cls, name, None)
        if "bind" in vars(cls):
            cls.bind = _noted(cls.bind)  # type: ignore[method-assign]

    def bind(self, task: Task) -> None:
        """Allocates state for a training run; called once, before the first step."""

    @abstractmethod
    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Computes the loss of one batch.

        Args:
            logits: Float ``[batch, labels]``.
            step: The batch's partial labels and its place in training.

        Returns:
            Scalar, differentiable in ``logits``.
        """

    def end_epoch(self, logits: Tensor, step: Step) -> None:
        """Updates state after an epoch; a loss that does not override it costs no predictions.

        Called without gradients. What it changes must be a buffer or a parameter.

        Args:
            logits: Of all training images, in their order, from the network in evaluation mode and
                without augmentation; float32 ``[images, labels]``.
            step: All training images, and the epoch that has ended.
        """

    @classmethod
    def ends_epochs(cls) -> bool:
        """Whether ``end_epoch`` wants predictions."""
        return cls.end_epoch is not PartialLabelLoss.end_epoch

    @final  # type: ignore[misc]  # torch declares it as an attribute
    def forward(self, logits: Tensor, step: Step) -> Tensor:
        """Checks shapes around [loss][labelattack.defenses.base.PartialLabelLoss.loss].

        Raises:
            DefenseError: If logits and labels differ in shape, ``bind`` was not called though the
                loss needs it, or the result is no scalar tensor that depends on the logits.
        """
        name = type(self).__name__
        if self.uses_epoch is False and not isinstance(step, EpochlessStep):
            step = EpochlessStep(
                name, positives=step.positives, negatives=step.negatives, index=step.index
            )
        if logits.shape != step.positives.shape or logits.shape != step.negatives.shape:
            raise DefenseError(
                f"logits and labels must have one shape, got {tuple(logits.shape)} and "
                f"{tuple(step.positives.shape)}"
            )
        try:
            with torch_defaults_kept(f"{name}.loss"):
                value: Any = self.loss(logits, step)
        except SystemExit as error:
            if type(error) is not SystemExit:  # this process is being ended
                raise
            raise DefenseError(f"{name}.loss must not end the program, but does") from error
        except (AttributeError, AssertionError, TypeError) as error:
            if self._bound or type(self).bind is PartialLabelLoss.bind:
                raise
            raise DefenseError(
                f"{name} must be bound to a task before its first step, got none; call "
                "bind(Task(labels=...)) once"
            ) from error
        if not isinstance(value, Tensor):
            raise DefenseError(f"{name}.loss must return a tensor, got a {type(value).__name__}")
        if value.shape != ():
            raise DefenseError(f"{name}.loss must return a scalar, got shape {tuple(value.shape)}")
        if logits.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise DefenseError(
                f"{name}.loss must return what can be differentiated in the logits, got a "
                f"{value.dtype} without a graph, as of .item(), .detach() or .numpy()"
            )
        return value / logits.numel() if self.as_mean and self.reduction == "sum" else value


def _noted(bind: Callable[..., None]) -> Callable[..., None]:
    @wraps(bind)
    def noted(self: PartialLabelLoss, *arguments: Any, **named: Any) -> None:
        bind(self, *arguments, **named)
        self._bound = True

    return noted


def chosen_settings(
    presets: Mapping[str, Mapping[str, float]], preset: str, **given: float | None
) -> dict[str, float]:
    """Settings of a loss: those that are given, and those of a named preset for the rest.

    Args:
        presets: Settings of each preset.
        preset: Name of one.
        **given: Values by name; None where the preset decides.
    """
    return {k: presets[preset][k] if value is None else value for k, value in given.items()}


def positive_term(logits: Tensor) -> Tensor:
    """-log p, per cell, from logits."""
    return softplus(-logits)


def negative_term(logits: Tensor) -> Tensor:
    """-log(1 - p), per cell, from logits."""
    return softplus(logits)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with targets in [0, 1], bool or float, per cell."""
    # One softplus, not one for each sign: it is what a step of a small head spends most time on.
    return softplus(logits) - target * logits


def mixed_cross_entropy(logits: Tensor, weight: Tensor, positive: Tensor) -> Tensor:
    """Sum of weighted binary cross-entropies with several targets, per cell.

    Args:
        logits: Of any shape.
        weight: Sum of the weights, likewise.
        positive: Sum of each weight times its target, likewise.
    """
    return weight * softplus(logits) - positive * logits


def observed_term(logits: Tensor, step: Step) -> Tensor:
    """Cross-entropy on observed cells, 0 on hidden ones, per cell."""
    return (step.positives | step.negatives) * cross_entropy(logits, step.positives)


def assume_negative(logits: Tensor, step: Step, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with hidden cells as negatives and targets moved by ``smoothing``, per cell."""
    return cross_entropy(logits, step.positives * (1 - 2 * smoothing) + smoothing)


def count_penalty(probabilities: Tensor, expected: float) -> Tensor:
    """((batch mean of the number of predicted positives - expected) / labels) ** 2, a scalar."""
    return (probabilities.mean() - expected / probabilities.shape[1]).square()


def expected_count(name: str, declared: float | None, task: Task) -> float:
    """Returns k, the expected positives per image: the parameter if given, else the dataset's.

    Raises:
        DefenseError: If neither is there.
    """
    expected = task.expected_positives if declared is None else declared
    if expected is None:
        raise DefenseError(
            f"defense '{name}' needs the expected number of positives per image, got none; give it "
            f"as {name}:expected_positives=K or declare it on the dataset"
        )
    return expected


def to_step(labels: PartialLabels, index: Tensor, *, epoch: int = 1, epochs: int = 1) -> Step:
    """Cuts rows, int64 ``[batch]``, out of labels, as a step on the index's device."""
    batch = labels.take(index.cpu().numpy())
    return Step(
        positives=torch.from_numpy(batch.positives.copy()).to(index.device),
        negatives=torch.from_numpy(batch.negatives).to(index.device),
        index=index,
        epoch=epoch,
        epochs=epochs,
    )
