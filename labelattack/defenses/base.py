"""Contract of a defense, and terms that losses share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from labelattack.defenses.task import EpochlessStep as EpochlessStep
from labelattack.defenses.task import Step as Step
from labelattack.defenses.task import Task as Task
from labelattack.defenses.task import to_step as to_step
from labelattack.errors import DefenseError
from labelattack.registry.torch_defaults import torch_defaults_kept

Reduction = Literal["mean", "sum", "none"]


class PartialLabelLoss(nn.Module, ABC):
    """A loss on logits and partial labels.

    Subclass with a keyword-only ``__init__`` whose arguments are the loss's parameters, implement
    [terms][labelattack.defenses.base.PartialLabelLoss.terms], or
    [loss][labelattack.defenses.base.PartialLabelLoss.loss] where it is no mean or sum over entries,
    and register it. State per image goes
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

    A subclass that has a ``loss``, ``terms`` or ``bind`` of its own inherits neither declaration.
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
        if {"loss", "terms", "bind"} & vars(cls).keys():
            for name in {"uses_epoch", "per_image_state"} - vars(cls).keys():
                setattr(cls, name, None)
        if "bind" in vars(cls):
            cls.bind = _noted(cls.bind)  # type: ignore[method-assign]

    def bind(self, task: Task) -> None:
        """Allocates state for a training run; called once, before the first step."""

    def terms(self, logits: Tensor, step: Step) -> Tensor:
        """Computes the loss of each entry, of which the loss is the mean or the sum.

        Args:
            logits: Float ``[batch, labels]``.
            step: The batch's partial labels and its place in training.

        Returns:
            Float ``[batch, labels]``, differentiable in ``logits``.

        Raises:
            DefenseError: If the loss is no mean or sum over entries.
        """
        raise DefenseError(f"{type(self).__name__} must implement loss or terms, but has neither")

    def loss(self, logits: Tensor, step: Step) -> Tensor:
        """Computes the loss of one batch: by default, the native reduction of the terms.

        Args:
            logits: Float ``[batch, labels]``.
            step: The batch's partial labels and its place in training.

        Returns:
            Scalar, differentiable in ``logits``.
        """
        return reduced(self.terms(logits, step), self.reduction)

    @classmethod
    def reductions(cls) -> tuple[Reduction, ...]:
        """Reductions that the loss allows: all if it has terms, else its native one."""
        if cls.terms is PartialLabelLoss.terms:
            return (cls.reduction,)
        return "mean", "sum", "none"

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
    def forward(self, logits: Tensor, step: Step, reduction: Reduction | None = None) -> Tensor:
        """Checks shapes around [loss][labelattack.defenses.base.PartialLabelLoss.loss].

        Args:
            logits: Float ``[batch, labels]``.
            step: The batch's partial labels and its place in training.
            reduction: One of those that the loss allows; None for its native one, or the mean if
                ``as_mean`` says so.

        Returns:
            Scalar, or ``[batch, labels]`` without a reduction.

        Raises:
            DefenseError: If logits and labels differ in shape, ``bind`` was not called though the
                loss needs it, or the result has another shape or does not depend on the logits.
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
        native = reduction in {None, self.reduction}
        method, shape = (self.loss, ()) if native else (self.terms, logits.shape)
        try:
            with torch_defaults_kept(f"{name}.{method.__name__}"):
                value = method(logits, step)
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
        _check_result(f"{name}.{method.__name__}", value, shape, logits)
        if not native:
            return reduced(value, reduction)
        as_mean = reduction is None and self.as_mean and self.reduction == "sum"
        return value / logits.numel() if as_mean else value


def _check_result(who: str, value: Any, shape: tuple[int, ...], logits: Tensor) -> None:
    """Raises DefenseError unless a loss is a tensor of a shape and depends on the logits."""
    if not isinstance(value, Tensor):
        raise DefenseError(f"{who} must return a tensor, got a {type(value).__name__}")
    if value.shape != shape:
        wanted = f"shape {tuple(shape)}" if shape else "a scalar"
        raise DefenseError(f"{who} must return {wanted}, got shape {tuple(value.shape)}")
    if logits.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
        raise DefenseError(
            f"{who} must return what can be differentiated in the logits, got a "
            f"{value.dtype} without a graph, as of .item(), .detach() or .numpy()"
        )


def reduced(terms: Tensor, reduction: Reduction | None) -> Tensor:
    """Mean or sum of the terms of all entries, or the terms themselves."""
    if reduction == "none":
        return terms
    return terms.mean() if reduction == "mean" else terms.sum()


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
