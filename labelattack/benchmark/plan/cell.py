"""A cell: one run, fully determined, and its key."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from labelattack.hashing import digest
from labelattack.training.recipe import Protocol, Recipe, Selection

CODE, CODE_OF = "code", "labelattack.benchmark.execution.run_cell"


class Cell(BaseModel):
    """One run, fully determined.

    Attributes:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: What is trained.
        attack: Resolved spec; always ``none`` for an oracle, which sees the clean labels.
        defense: Resolved spec.
        recipe: Hyper-parameters.
        seed: Seed of every random stream of the run.
        selection: Whose validation labels choose epoch and recipe.
        fingerprint: Hash of the dataset's images and labels.
        versions: Version of each component, and if the package was edited since its commit, a
            hash of the edited files that all runs need.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    model: str
    protocol: Protocol
    attack: str
    defense: str
    recipe: Recipe
    seed: int = Field(ge=0)
    selection: Selection
    fingerprint: str
    versions: dict[str, str]

    @cached_property
    def key(self) -> str:
        """Hash of everything above: the name of the cell's record."""
        return digest(self.model_dump(mode="json", exclude_none=True))
