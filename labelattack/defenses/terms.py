"""Choices among the entries of a class, for losses that label the training images themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def lowest(scores: Tensor, among: Tensor, counts: Sequence[int]) -> Tensor:
    """Marks the entries with the lowest scores of each class; of equal ones, the earlier images.

    Args:
        scores: Float ``[images, labels]``.
        among: Entries to choose from, bool ``[images, labels]``.
        counts: Number of entries to mark in each class; all where it is more than there are.

    Returns:
        Bool ``[images, labels]``.
    """
    order = torch.where(among, scores, torch.inf).argsort(dim=0, stable=True)
    rank = torch.arange(len(scores), device=scores.device)[:, None]
    first = rank < torch.tensor(counts, device=scores.device)
    return torch.zeros_like(among).scatter_(0, order, first) & among
