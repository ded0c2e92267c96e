"""Linear heads that are trained together, as one matrix."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, groupby, pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

T = TypeVar("T")


def stretches(items: Sequence[T], key: Callable[[T], Hashable]) -> list[range]:
    """Stretches of neighbours that are alike."""
    lengths = [len(list(members)) for _, members in groupby(items, key=key)]
    ends = accumulate(lengths, initial=0)
    return [range(*part) for part in pairwise(ends)]


class StackedHeads:
    """Parameters of linear heads, and their gradients, all labels of all heads as rows.

    Attributes:
        orders: Neighbours that see the images in one order.
        pairs: Parameters with their gradients, ``[heads, ...]``.

    Args:
        heads: Where to start; not changed.
        orders: Key of the order in which each sees the images; equal ones lie together.
        device: Where to compute.
    """

    def __init__(
        self, heads: Sequence[nn.Linear], orders: Sequence[Hashable], device: torch.device
    ) -> None:
        self.weight = torch.cat([head.weight.detach() for head in heads]).to(device)
        self.bias = torch.cat([head.bias.detach() for head in heads]).to(device)
        self.at_weight, self.at_bias = torch.empty_like(self.weight), torch.empty_like(self.bias)
        self.labels = len(self.bias) // len(heads)
        self.orders = stretches(orders, lambda order: order)
        self.pairs = [
            (value.view(len(heads), -1), slope.view(len(heads), -1))
            for value, slope in ((self.weight, self.at_weight), (self.bias, self.at_bias))
        ]

    def logits(self, batches: list[Tensor]) -> Tensor:
        """``[heads, batch, labels]``, given ``[batch, channels]`` for each order."""
        return torch.cat(
            [
                linear(batch, self.weight[rows], self.bias[rows])
                .view(len(batch), -1, self.labels)
                .transpose(0, 1)
                for batch, rows in zip(batches, map(self._rows, self.orders), strict=True)
            ]
        )

    def differentiate(self, batches: list[Tensor], at_logits: list[Tensor]) -> None:
        """Puts the parameters' gradients in place, given those of the logits, part by part."""
        rows = torch.cat([part.transpose(1, 2).flatten(0, 1) for part in at_logits])
        for batch, share in zip(batches, map(self._rows, self.orders), strict=True):
            torch.mm(rows[share], batch, out=self.at_weight[share])
        torch.sum(rows, 1, out=self.at_bias)

    def state(self, row: int) -> dict[str, Tensor]:
        """Parameters of one head, as a linear layer names them."""
        (weight, _), (bias, _) = self.pairs
        return {"weight": weight[row].view(self.labels, -1), "bias": bias[row]}

    def finite(self) -> list[bool]:
        """Whether all parameters of each head are finite."""
        both = [values.isfinite().all(1) for values, _ in self.pairs]
        return list((both[0] & both[1]).tolist())

    def scores(self, heads: range, features: Tensor) -> Tensor:
        """Logits of some heads for all images, ``[heads, images, labels]``."""
        rows = self._rows(heads)
        found = torch.addmm(self.bias[rows, None], self.weight[rows], features.T)
        return found.view(len(heads), self.labels, -1).transpose(1, 2)

    def _rows(self, heads: range) -> slice:
        return slice(heads.start * self.labels, heads.stop * self.labels)
