"""Hyper-parameters and epochs of a run; imported without torch by whatever only reads records."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Selection = Literal["attacked", "clean"]


class Recipe(BaseModel):
    """Hyper-parameters of one run.

    Attributes:
        epochs: Passes over the training set.
        lr: Adam's learning rate.
        batch_size: Images per step.
        micro_batch: Images per forward pass, for memory's sake; None for the whole batch. The loss
            sees the whole batch all the same; only batch normalisation tells the difference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0, allow_inf_nan=False)
    batch_size: int = Field(ge=1)
    micro_batch: int | None = Field(default=None, ge=1)


class Epoch(BaseModel):
    """Mean training loss of an epoch, and its validation mAP in [0, 1] if defined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: float
    val_map: float | None
