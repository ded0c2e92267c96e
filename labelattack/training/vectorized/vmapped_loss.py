"""Losses of many runs as one call: ``torch.vmap`` over the state of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.overrides import TorchFunctionMode

from labelattack.defenses.base import EpochlessStep, PartialLabelLoss, Step
from labelattack.errors import DefenseError
from labelattack.training.fallbacks import told
from labelattack.training.vectorized.group_loss import GroupLoss
from labelattack.training.vectorized.tracing import attributes_told, recorded

# Calls that a recording must serve to save more time than it takes: of a run, and of an epoch.
_OF_A_RUN, _OF_AN_EPOCH = 1_000, 400


class VmappedLoss(GroupLoss):
    """One call for all runs: the loss of the first, mapped over the state of each.

    Args:
        losses: Bound losses.
        runs: Which runs they are of.
        by_rows: Whether the losses read their parameters only at the batch's images. The gradient
            of such a table is that of the rows read, so that a step leaves the others alone.
        calls: Expected number of calls in an epoch.
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
        self.asked: list[str] = ["epoch"] if losses[0].uses_epoch else []
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

    def end_epoch(self, run: int, logits: Tensor, step: Step, failed: dict[int, Exception]) -> None:
        """Calls that of the first run's loss on the state of this one."""
        place = run - self.runs.start
        own = {k: stack[place] for k, stack in (*self.tables.items(), *self.buffers.items())}
        after = {f"loss.{name}": value for name, value in own.items()}
        attributes = attributes_told(self.loss)
        with torch.no_grad():
            functional_call(_EndOfEpoch(self.loss), after, (logits, step))
            for name, value in own.items():
                # A buffer that was assigned, not written into, is another tensor afterwards.
                if (changed := after[f"loss.{name}"]) is not value:
                    value.copy_(changed)
        if attributes_told(self.loss) != attributes:
            raise DefenseError("the end of an epoch must change buffers only, not attributes")

    def _played(self, step: Step, inputs: list[Tensor]) -> Callable[..., list[Tensor]]:
        """Function that computes a step: a recording, where enough calls make up for making one."""
        mapped = partial(self._mapped, step.epoch, step.epochs)
        if self.shape is None:  # it tells whether a loss that declares nothing reads the epoch
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
        self.fallbacks.append(told(f"{type(self.loss).__name__} called without a recording", error))

    def _mapped(self, epoch: int, epochs: int, *inputs: Tensor) -> list[Tensor]:
        """Values, and gradients at the logits and at the parameters."""
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
            alone = self._step(epoch, epochs, positives, negatives, index)
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

    def _step(self, epoch: int, epochs: int, *tensors: Tensor) -> Step:
        """Step of one run; spied on where the loss does not declare whether it reads the epoch."""
        named = dict(zip(("positives", "negatives", "index"), tensors, strict=True))
        if self.loss.uses_epoch is False:
            return EpochlessStep(type(self.loss).__name__, **named)
        if self.loss.uses_epoch:
            return Step(**named, epoch=epoch, epochs=epochs)
        return _SpiedStep(**named, epoch=epoch, epochs=epochs, asked=self.asked)


class _EndOfEpoch(nn.Module):
    """A loss's end of an epoch as a module's forward pass."""

    def __init__(self, loss: PartialLabelLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, step: Step) -> None:
        self.loss.end_epoch(logits, step)


@dataclass(frozen=True, kw_only=True)
class _SpiedStep(Step):
    """A step that notes when its epoch is read; a recording then holds for that epoch only."""

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
