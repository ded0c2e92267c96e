"""A cell: one run, fully determined, and its key."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from labelattack.attacks import registry as attacks
from labelattack.attacks.knowledge import SURROGATE_VERSION
from labelattack.defenses import registry as defenses
from labelattack.hashing import digest
from labelattack.registry.installation import edits_behind
from labelattack.registry.spec import Spec
from labelattack.training.protocols import registry as protocols
from labelattack.training.recipe import Recipe, Selection

CODE = "code"
# Outcomes of these measures tell a version number only: their edits are those of the run.
CODE_OF = (
    "labelattack.benchmark.execution.run_cell",
    "labelattack.measures.d_score",
    "labelattack.measures.evasion",
    "labelattack.measures.corruption",
)


class Cell(BaseModel):
    """One run, fully determined.

    Attributes:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: Resolved spec of the training protocol.
        attack: Resolved spec; ``none`` for an oracle that trains on the clean labels.
        defense: Resolved spec.
        recipe: Hyper-parameters.
        seed: Seed of every random stream of the run.
        selection: Whose validation labels choose epoch and recipe.
        budget: Labels that the attack removes, whatever its rate, such as ``positives=0.4``; None
            where the rate decides.
        limit: Most images of each split that are used; None for all.
        labels: Whether the attack hides labels, ``removed``, or changes them, ``changed``.
        fingerprint: Hash of the dataset's images and labels.
        versions: Version of each component, and if the package was edited since its commit, a
            hash of the edited files that all runs need.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    model: str
    protocol: str
    attack: str
    defense: str
    recipe: Recipe
    seed: int = Field(ge=0)
    selection: Selection
    budget: str | None = Field(default=None, exclude_if=lambda budget: budget is None)
    limit: int | None = Field(default=None, ge=1, exclude_if=lambda limit: limit is None)
    labels: Literal["removed", "changed"] = Field(
        default="removed", exclude_if=lambda labels: labels == "removed"
    )
    fingerprint: str
    versions: dict[str, str]

    @cached_property
    def key(self) -> str:
        """Hash of everything above: the name of the cell's record."""
        return digest(self.model_dump(mode="json", exclude_none=True))

    @cached_property
    def loss(self) -> Spec:
        """Resolved spec of the loss that is trained: the defense with what the recipe searches."""
        return loss_of(Spec.parse(self.defense), self.recipe)


def loss_of(defense: Spec, recipe: Recipe) -> Spec:
    """Resolved spec of a defense, with what a recipe searches of its parameters."""
    if not recipe.loss:
        return defense
    return defenses.resolve(Spec.of(defense.name, dict(defense.params) | dict(recipe.loss)))


def attack_version(attack: Spec) -> str:
    """Version of an attack, with that of the surrogate where its knowledge comes from one.

    Args:
        attack: Resolved spec.
    """
    given = {name for name, value in attack.params if value}
    asked = set(attacks.get(attack.name).needs) - given
    version = attacks.version(attack)
    surrogate = asked & {"scores", "features", "held_out"}
    return f"{version}+surrogate-{SURROGATE_VERSION}" if surrogate else version


def code_behind(protocol: str) -> str:
    """Version of the code that every run of a protocol needs, as ``versions`` holds it.

    Empty if it is as it was committed and the protocol is a built-in one of version 1, as keys of
    cells have no part for protocols.

    Args:
        protocol: Spec.
    """
    version = protocols.version(protocol)
    own = "" if version == "1" else f"{protocol.partition(':')[0]}-{version}"
    return " ".join(filter(None, (edits_behind(*CODE_OF), own)))
