"""What a run is told, and what an epoch came to; light enough for whoever only reads records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from labelattack.errors import unknown

if TYPE_CHECKING:
    from labelattack.models.base import Model

Protocol = Literal["finetune", "linear"]
LINEAR_LEARNING_RATES = (3e-3, 1e-3, 3e-4)
LINEAR_BATCH_SIZES = (16,)


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
    """What one epoch came to: mean training loss, and validation mAP in [0, 1] if defined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: float
    val_map: float | None


def default_recipes(protocol: Protocol, model: Model) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Learning rates and batch sizes searched when none are given, the same for every defense."""
    check_protocol(protocol)
    if protocol == "linear":
        return LINEAR_LEARNING_RATES, LINEAR_BATCH_SIZES
    return model.learning_rates, model.batch_sizes


def check_protocol(name: str) -> None:
    """Raises UnknownNameError unless ``name`` is a protocol."""
    if name not in get_args(Protocol):
        raise unknown("protocol", name, get_args(Protocol))


Selection = Literal["attacked", "clean"]
