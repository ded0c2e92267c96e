"""The losses of many runs, called as one where their arithmetic allows it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.overrides import TorchFunctionMode

from labelattack.defenses.base import PartialLabelLoss, Step
from labelattack.errors import DefenseError
from labelattack.training.fallbacks import told
from labelattack.training.vectorized.tracing import recorded

_PROBE_STEPS = 3
# Calls that a recording must serve to save more time than it takes: of a run, and of an epoch.
_OF_A_RUN, _OF_AN_EPOCH = 1_000, 400


class GroupLoss(ABC):
    """GroupLoss of one kind.

    Attributes:
        runs: Which of the runs that train together they are of.
        lr_scale: Learning rate of what they learn, as a multiple of the network's.
        fallbacks: Why faster ways of calling them were left.
    """

    def __init__(self, losses: Sequence[PartialLabelLoss], runs: range) -> None:
        self.runs = runs
        self.lr_scale = losses[0].lr_scale
        self.fallbacks: list[str] = []

    def places(self, runs: range) -> slice:
        """Where some of their runs are among theirs."""
        return slice(runs.start - self.runs.start, runs.stop - self.runs.start)

    @abstractmethod
    def learned(self, runs: range) -> list[Tensor]:
        """What some of their runs learn; each call leaves the gradients in it."""

    @abstractmethod
    def __call__(
        self, logits: Tensor, step: Step, failed: dict[int, Exception]
    ) -> tuple[Tensor, Tensor]:
        """Computes values and gradients.

        Args:
            logits: Float ``[runs, batch, labels]``.
            step: As for one loss, but its tensors have the run as their first axis; no image is
                twice in a batch.
            failed: Runs that are not to be called any more, and why; what fails now is added.

        Returns:
            The value for each run, float ``[runs]``, and its gradient at the logits.
        """


class VmappedLoss(GroupLoss):
    """One call for all: the loss of the first run, mapped over the state of each.

    Args:
        losses: Bound losses.
        runs: Which runs they are of.
        by_rows: Whether the losses read what they learn only at the batch's images. The gradient
            of a table then is that of the rows read; a step does not go through all of it.
        calls: About how many calls there will be in an epoch.
    """

    def __init__(
        self,
        losses: Sequence[PartialLabelLoss],
        runs: range,
        *,
        by_rows: bool = False,
        calls: int = 0,
    ) -> None:
        super().__init__(losses, runs)
        self.calls = calls
        self.shape: torch.Size | None = None
        self.asked: list[str] = []
        self.recording: tuple[int | None, Callable[..., list[Tensor]]] | None = None
        self.loss, self.by_rows = losses[0], by_rows
        parameters, self.buffers = stack_module_state(list(losses))
        self.tables = {name: table.detach() for name, table in parameters.items()}
        self.slopes = {
            name: torch.zeros_like(table) for name, table in self.tables.items() if by_rows
        }
        self.views: list[tuple[Tensor, str, slice]] = []
        self.read: tuple[Tensor, Tensor] | None = None

    def learned(self, runs: range) -> list[Tensor]:
        """Views of the stacked tables."""
        part = self.places(runs)
        views = [(table[part], name, part) for name, table in self.tables.items()]
        for view, name, _ in views:
            if self.by_rows:
                view.grad = self.slopes[name][part]
        self.views += views
        return [view for view, _, _ in views]

    def __call__(
        self, logits: Tensor, step: Step, failed: dict[int, Exception]
    ) -> tuple[Tensor, Tensor]:
        """Calls the mapped loss, or plays it as recorded."""
        rows = torch.arange(len(logits), device=logits.device)[:, None], step.index
        leaves = [table[rows] if self.by_rows else table for table in self.tables.values()]
        given = (logits, step.positives, step.negatives, step.index)
        inputs = [*given, *leaves, *self.tables.values(), *self.buffers.values()]
        values, at_logits, *slopes = self._played(step, inputs)(*inputs)
        if self.by_rows:
            for total, slope in zip(self.slopes.values(), slopes, strict=True):
                if self.read is not None:
                    total[self.read] = 0
                total[rows] = slope
            self.read = rows
        else:
            found = dict(zip(self.tables, slopes, strict=True))
            for view, name, part in self.views:
                view.grad = found[name][part]
        return values, at_logits

    def _played(self, step: Step, inputs: list[Tensor]) -> Callable[..., list[Tensor]]:
        """What computes a step: as recorded, where there are calls enough to make up for it."""
        mapped = partial(self._mapped, step.epoch, step.epochs)
        if self.shape is None:  # the first call tells whether the epoch is asked for
            self.shape = inputs[0].shape
            return mapped
        worth = self.calls > (_OF_AN_EPOCH if self.asked else _OF_A_RUN / step.epochs)
        if not worth or inputs[0].shape != self.shape:
            return mapped
        if self.recording is None or self.recording[0] not in (None, step.epoch):
            play = recorded(mapped, inputs, self.loss, self._unrecorded)
            if play is None:
                self.calls = 0
                return mapped
            self.recording = step.epoch if self.asked else None, play
        return self.recording[1]

    def _unrecorded(self, error: Exception) -> None:
        self.fallbacks.append(told(f"{_name(self.loss)} called without a recording", error))

    def _mapped(self, epoch: int, epochs: int, *inputs: Tensor) -> list[Tensor]:
        """Values, and gradients at the logits and at what is learned."""
        logits, positives, negatives, index = inputs[:4]
        learned = len(self.tables)
        leaves = [leaf.detach().requires_grad_() for leaf in inputs[4 : 4 + learned]]
        tables, buffers = [*inputs[4 + learned : 4 + 2 * learned]], [*inputs[4 + 2 * learned :]]
        logits = logits.detach().requires_grad_()

        def one(
            logits: Tensor,
            positives: Tensor,
            negatives: Tensor,
            index: Tensor,
            leaves: list[Tensor],
            tables: list[Tensor],
            buffers: list[Tensor],
        ) -> Tensor:
            alone = _Spied(
                positives=positives,
                negatives=negatives,
                index=index,
                epoch=epoch,
                epochs=epochs,
                asked=self.asked,
            )
            if not tables and not buffers:  # putting nothing in place takes time, too
                return self.loss(logits, alone)  # type: ignore[no-any-return]
            held = [*(tables if self.by_rows else leaves), *buffers]
            named = dict(zip((*self.tables, *self.buffers), held, strict=True))
            reading = [(table, index, leaf) for table, leaf in zip(tables, leaves, strict=True)]
            with _RowReads(reading) if self.by_rows else nullcontext():
                value: Tensor = functional_call(self.loss, named, (logits, alone))
            return value

        values: Tensor = vmap(one)(logits, positives, negatives, index, leaves, tables, buffers)
        slopes = torch.autograd.grad(values.sum(), [logits, *leaves], materialize_grads=True)
        return [values.detach(), *slopes]


@dataclass(frozen=True, kw_only=True)
class _Spied(Step):
    """A step that notes when it is asked for the epoch, of which a recording then is."""

    asked: list[str]

    def __getattribute__(self, name: str) -> Any:
        if name in ("epoch", "epochs") and not self.asked:
            self.asked.append(name)
        return super().__getattribute__(name)


class _RowReads(TorchFunctionMode):
    """Hands out the rows of a table, read beforehand, wherever it is read at their index.

    Raises:
        DefenseError: If a table is used in any other way.
    """

    def __init__(self, reading: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        super().__init__()
        self.reading = reading

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for table, index, rows in self.reading:
            if func is Tensor.__getitem__ and args[0] is table and args[1] is index:
                return rows
            for value in (*args, *kwargs.values()):
                among = value if isinstance(value, list | tuple) else (value,)
                if any(one is table for one in among):
                    raise DefenseError("a table must be read at the batch's images only")
        return func(*args, **kwargs)


class SequentialLoss(GroupLoss):
    """One call for each run, for losses that cannot be mapped."""

    def __init__(self, losses: Sequence[PartialLabelLoss], runs: range, fallback: str = "") -> None:
        super().__init__(losses, runs)
        self.fallbacks += [fallback] * bool(fallback)
        # Copies: should the group have to start again, it does so from the state of the start.
        self.losses = copy.deepcopy(list(losses))
        self.leaves = self.learned(runs)

    def learned(self, runs: range) -> list[Tensor]:
        """The parameters themselves."""
        return [leaf for loss in self.losses[self.places(runs)] for leaf in loss.parameters()]

    def __call__(
        self, logits: Tensor, step: Step, failed: dict[int, Exception]
    ) -> tuple[Tensor, Tensor]:
        """Calls one loss after the other."""
        logits = logits.detach().requires_grad_()
        values = []
        for place, (run, loss) in enumerate(zip(self.runs, self.losses, strict=True)):
            value = logits[place].sum() * 0
            if run not in failed:
                alone = replace(
                    step,
                    positives=step.positives[place],
                    negatives=step.negatives[place],
                    index=step.index[place],
                )
                try:
                    value = loss(logits[place], alone)
                except Exception as error:
                    failed[run] = error
            values.append(value)
        together = torch.stack(values)
        at_logits, *slopes = torch.autograd.grad(
            together.sum(), [logits, *self.leaves], materialize_grads=True
        )
        for leaf, slope in zip(self.leaves, slopes, strict=True):
            leaf.grad = slope
        return together.detach(), at_logits


def vectorize(
    losses: Sequence[PartialLabelLoss], runs: range, signs: Tensor, *, calls: int = 0
) -> GroupLoss:
    """One call for all the losses if it gives the values and gradients of a call for each.

    Args:
        losses: Bound losses of one kind.
        runs: Which of the runs that train together they are of.
        signs: Labels of the first training images of each run, 1, -1 and 0 for hidden, int8
            ``[runs, images, labels]``; the calls are compared on them.
        calls: About how many calls there will be in an epoch.
    """
    if len(losses) == 1:
        return SequentialLoss(losses, runs)
    reason: Exception | None = None
    # A loss that learns nothing reads no rows of it.
    for by_rows in (True, False) if [*losses[0].parameters()] else (False,):
        try:
            _require_agreement(losses, signs, by_rows)
            batched = VmappedLoss(losses, runs, by_rows=by_rows, calls=calls)
            if reason is not None:
                what = f"tables of {_name(losses[0])} differentiated whole, not by rows"
                batched.fallbacks.append(told(what, reason))
            return batched
        except Exception as error:  # whatever mapping raises, each run's can still be called
            reason = error
    return SequentialLoss(losses, runs, told(f"{_name(losses[0])} called one by one", reason))


def _name(loss: PartialLabelLoss) -> str:
    return type(loss).__name__


def _require_agreement(losses: Sequence[PartialLabelLoss], signs: Tensor, by_rows: bool) -> None:
    """Runs a few steps on the same images both ways, on copies, state included.

    Raises:
        Exception: What the loss raises.
        DefenseError: If values or gradients differ.
    """
    runs = range(len(losses))
    ways = VmappedLoss(copy.deepcopy(losses), runs, by_rows=by_rows), SequentialLoss(losses, runs)
    learned = [way.learned(runs) for way in ways]
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(signs.shape[1], device=signs.device).repeat(len(losses), 1)
    failed: dict[int, Exception] = {}
    for epoch in range(1, _PROBE_STEPS + 1):
        logits = torch.randn(signs.shape, generator=generator).to(signs.device)
        step = Step(
            positives=signs > 0, negatives=signs < 0, index=index, epoch=epoch, epochs=_PROBE_STEPS
        )
        batched, apart = (way(logits, step, failed) for way in ways)
        pairs = [*zip(batched, apart, strict=True)]
        for number, leaf in enumerate(learned[0]):
            each = learned[1][number :: len(learned[0])]
            pairs.append((_slope(leaf), torch.stack([_slope(one) for one in each])))
        if failed:
            raise next(iter(failed.values()))
        if not all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in pairs):
            raise DefenseError("several calls mapped to one must give what they give alone")


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
