"""Cells and the grid that crosses them."""

from __future__ import annotations

from itertools import product

from pydantic import PositiveInt

from labelattack.attacks import registry as attacks
from labelattack.benchmark.plan.cell import CODE, Cell, code_behind
from labelattack.benchmark.plan.search import Search
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.training.protocols import registry as protocols
from labelattack.training.recipe import Recipe, Reduction, Selection

REFERENCE = "bce"


class Grid(Search):
    """Attacks crossed with defenses, recipes and seeds on one dataset and model.

    Fields of [Search][labelattack.benchmark.plan.search.Search] say what is searched.

    Attributes:
        dataset: Spec.
        model: Spec.
        protocol: Spec.
        attacks: Specs.
        defenses: Specs.
        seeds: Seeds; the same attacked labels reach every defense of one seed.
        epochs: Passes over the training set.
        selection: Whose validation labels choose epoch and recipe.
        reduction: Whether losses that sum do so, or are divided by the number of entries.
        reference: Whether to add the clean full-label reference.
        micro_batch: Images per forward pass where the protocol divides batches; None for all.
    """

    dataset: str
    model: str
    protocol: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: PositiveInt = 10
    selection: Selection = "attacked"
    reduction: Reduction = "native"
    reference: bool = True
    micro_batch: PositiveInt | None = None

    def cells(self, fingerprint: str) -> list[Cell]:
        """Every distinct cell, seeds outermost so that early results span the grid.

        Args:
            fingerprint: Hash of the loaded dataset.

        Raises:
            UnknownNameError: If a component is unknown.
            ParameterError: If a parameter is.
        """
        protocol, trained = protocols.create(self.protocol), protocols.resolve(self.protocol)
        dataset, model = datasets.resolve(self.dataset), models.resolve(self.model)
        recipes = self.recipes(
            protocol.search_space(models.create(model)),
            epochs=self.epochs,
            micro_batch=self.micro_batch if protocol.uses_micro_batches else None,
        )
        edits = code_behind(str(trained))
        code = {CODE: edits} if edits else {}
        pairs = list(product(self.attacks, self.defenses))
        if self.reference:
            pairs.insert(0, ("none", REFERENCE))
        shared = {
            "dataset": datasets.version(dataset.name),  # the fingerprint is of its files
            "model": models.version(model),
            **code,
        }
        resolved = [_resolved(attack, defense) for attack, defense in pairs]
        trials = self.trials_of({defense.name for _, defense, _ in resolved}, recipes)
        found: dict[str, Cell] = {}
        for seed, (attacked, defended, versions) in product(self.seeds, resolved):
            for recipe in trials[defended.name]:
                cell = Cell(
                    dataset=str(dataset),
                    model=str(model),
                    protocol=str(trained),
                    attack=str(attacked),
                    defense=str(defended),
                    recipe=_reduced(recipe, defended, self.reduction),
                    seed=seed,
                    selection=self.selection,
                    fingerprint=fingerprint,
                    versions=shared | versions,
                )
                found.setdefault(cell.key, cell)
        return list(found.values())


def _resolved(attack: str, defense: str) -> tuple[Spec, Spec, dict[str, str]]:
    """A pair's resolved specs, and their versions."""
    defended = defenses.resolve(defense)
    attacked = attack_met(attack, defended)
    versions = {"attack": attacks.version(attacked), "defense": defenses.version(defended)}
    return attacked, defended, versions


def attack_met(attack: str, defense: Spec) -> Spec:
    """The resolved attack under which a defense is run: none where it is told all labels."""
    loss = defenses.get(defense.name)
    return attacks.resolve("none" if loss.oracle and not loss.sees_attack else attack)


def _reduced(recipe: Recipe, defense: Spec, reduction: Reduction) -> Recipe:
    """A recipe with a reduction, where it makes a difference to the loss."""
    sums = defenses.get(defense.name).reduction == "sum"
    return recipe.model_copy(update={"reduction": reduction if sums else "native"})
