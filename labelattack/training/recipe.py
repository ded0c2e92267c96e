"""Hyper-parameters and epochs of a run; imported without torch by whatever only reads records."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from labelattack.errors import ParameterError

LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000_000)]
WeightDecay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Selection = Literal["attacked", "clean", "last"]
Reduction = Literal["native", "mean"]
Setting = bool | int | float | str


class Recipe(BaseModel):
    """Hyper-parameters of one run.

    Attributes:
        epochs: Passes over the training set.
        lr: Adam's learning rate.
        batch_size: Images per step.
        micro_batch: Images per forward pass, for memory's sake; None for the whole batch. The loss
            sees the whole batch all the same; only batch normalisation tells the difference.
        weight_decay: Factor of the network's parameters that is added to their gradients, as Adam
            of torch has it; not of what a loss learns. Left out where it is 0, as in records from
            before there was one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1)
    lr: LearningRate
    batch_size: BatchSize
    micro_batch: int | None = Field(default=None, ge=1)
    weight_decay: WeightDecay = Field(default=0.0, exclude_if=lambda decay: decay == 0)
    reduction: Reduction = Field(default="native", exclude_if=lambda name: name == "native")
    loss: tuple[tuple[str, Setting], ...] = Field(default=(), exclude_if=lambda of: not of)

    @field_validator("loss", mode="before")
    @classmethod
    def _sorted(cls, loss: Any) -> Any:
        return tuple(sorted(loss.items())) if isinstance(loss, Mapping) else loss

    @field_serializer("loss")
    def _by_name(self, loss: tuple[tuple[str, Setting], ...]) -> dict[str, Setting]:
        return dict(loss)

    def searched(self) -> dict[str, Setting]:
        """Settings that tell runs of one cell apart, by name; without those that are not used."""
        found: dict[str, Setting] = self.model_dump(include={*SEARCHED, "reduction"})
        return found | dict(self.loss)

    def further(self) -> dict[str, Setting]:
        """Those of them beyond learning rate and batch size, which every run has."""
        found = self.searched()
        return {name: found[name] for name in found if name not in ("lr", "batch_size")}

    def rate_text(self) -> str:
        """Learning rate and further settings, such as ``0.001 weight_decay=0.01``."""
        further = (f"{name}={setting_text(value)}" for name, value in self.further().items())
        return " ".join([f"{self.lr:g}", *further])


class SearchSpace(BaseModel):
    """Values of hyper-parameters, all combinations of which are searched.

    Each field is named after one of [Recipe][labelattack.training.recipe.Recipe], in the plural;
    where it is empty, the protocol's own values are searched.

    Attributes:
        lrs: Learning rates.
        batch_sizes: Batch sizes.
        weight_decays: Weight decays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lrs: tuple[LearningRate, ...] = ()
    batch_sizes: tuple[BatchSize, ...] = ()
    weight_decays: tuple[WeightDecay, ...] = ()

    def completed(self, own: SearchSpace) -> dict[str, tuple[float, ...]]:
        """Values of each field: where it is empty those of ``own``, or else a recipe's default."""
        found = {}
        for plural, name in zip(SearchSpace.model_fields, SEARCHED, strict=True):
            field = Recipe.model_fields[name]
            default = () if field.is_required() else (field.default,)
            found[plural] = getattr(self, plural) or getattr(own, plural) or default
        return found

    def recipes(self, own: SearchSpace, **fixed: Any) -> list[Recipe]:
        """Every combination, the first field's values outermost.

        Args:
            own: The protocol's values.
            **fixed: Further fields of the recipes.

        Raises:
            ParameterError: If a field that has no default is empty in both.
        """
        choices = self.completed(own)
        for plural, values in choices.items():
            if not values:
                raise ParameterError(f"{plural} must be given: the protocol has none of its own")
        return [
            Recipe(**dict(zip(SEARCHED, values, strict=True)), **fixed)
            for values in product(*choices.values())
        ]


def setting_text(value: Setting) -> str:
    """Text of a setting: numbers with six digits, ``true``, ``false``, words as they are."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"


def words_last(value: Setting) -> tuple[bool, Setting]:
    """Key that sorts settings: numbers by size, then words."""
    return isinstance(value, str), value


SEARCHED = tuple(plural.removesuffix("s") for plural in SearchSpace.model_fields)
"""Hyper-parameters of training that a search may vary."""
CHOSEN = frozenset({*SEARCHED, "loss"})
"""Fields of a recipe that validation chooses."""


class Epoch(BaseModel):
    """Mean training loss of an epoch, and its validation mAP in [0, 1] if defined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    loss: float
    val_map: float | None
