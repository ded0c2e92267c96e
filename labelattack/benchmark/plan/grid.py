"""Cells and the grid that crosses them."""

from __future__ import annotations

from functools import cache, partial
from itertools import product

from pydantic import PositiveInt

from labelattack.attacks import registry as attacks
from labelattack.attacks.budget import Budget, check_removes
from labelattack.attacks.sets import expanded
from labelattack.benchmark.plan.cell import CODE, Cell, attack_version, code_behind, loss_of
from labelattack.benchmark.plan.search import Search
from labelattack.datasets import registry as datasets
from labelattack.defenses import registry as defenses
from labelattack.errors import ParameterError
from labelattack.models import registry as models
from labelattack.registry.spec import Spec
from labelattack.training.isolation import attempt
from labelattack.training.protocols import asked_protocol
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
        attacks: Specs, of sets of attacks too.
        defenses: Specs.
        budget: Labels that every attack removes, such as ``positives=0.4``; None for its rate.
        seeds: Seeds; the same attacked labels reach every defense of one seed.
        epochs: Passes over the training set.
        selection: Whose validation labels choose epoch and recipe.
        reduction: Whether losses that sum do so, or are divided by the number of entries.
        limit: Most images of each split that are used; None for all.
        reference: Whether to add the clean full-label reference.
        micro_batch: Images per forward pass where the protocol divides batches; None for all.
    """

    dataset: str
    model: str
    protocol: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    budget: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: PositiveInt = 10
    selection: Selection = "attacked"
    reduction: Reduction = "native"
    limit: PositiveInt | None = None
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
        protocol = protocols.create(_asked(self.protocol))
        dataset, model = datasets.resolve(self.dataset), models.resolve(self.model)
        recipes = self.recipes(
            protocol.search_space(models.create(model)),
            epochs=self.epochs,
            micro_batch=self.micro_batch if protocol.uses_micro_batches else None,
        )
        pairs = list(product(expanded(self.attacks)[0], self.defenses))
        if self.reference:
            pairs.insert(0, ("none", REFERENCE))
        # The fingerprint is of the dataset's files.
        shared = {"dataset": datasets.version(dataset.name), "model": models.version(model)}
        budget = None if self.budget is None else Budget.parse(self.budget)
        resolved = [_resolved(attack, defense, budget) for attack, defense in pairs]
        for _, defended, _ in resolved:
            self.check_open(defended)
        trials = self.trials_of({defense.name for _, defense, _ in resolved}, recipes)
        trained_by = cache(partial(_trained_by, self.protocol))
        found: dict[str, Cell] = {}
        for seed, (attacked, defended, versions) in product(self.seeds, resolved):
            for recipe in trials[defended.name]:
                trained, code = trained_by(loss_of(defended, recipe))
                cell = Cell(
                    dataset=str(dataset),
                    model=str(model),
                    protocol=trained,
                    attack=str(attacked),
                    defense=str(defended),
                    recipe=_reduced(recipe, defended, self.reduction),
                    seed=seed,
                    selection=self.selection if protocol.validates else "last",
                    budget=None if budget is None or attacked.name == "none" else str(budget),
                    limit=self.limit,
                    labels="changed" if attacks.get(attacked.name).changes else "removed",
                    fingerprint=fingerprint,
                    versions=shared | code | versions,
                )
                found.setdefault(cell.key, cell)
        return list(found.values())


def _asked(protocol: str) -> Spec:
    """Resolved spec of a protocol that may be asked for.

    Raises:
        UnknownNameError: If it is unknown.
        ParameterError: If a parameter is, or only a loss may choose it.
    """
    spec = protocols.resolve(protocol)
    if (other := asked_protocol(str(spec))) != str(spec):
        raise ParameterError(
            f"protocol must be one that suits every loss, got '{spec.name}', which a loss such as "
            f"boostlu chooses for itself; give {other}"
        )
    return spec


def _trained_by(protocol: str, loss: Spec) -> tuple[str, dict[str, str]]:
    """Resolved spec of what trains a loss where a protocol is asked for, and its code's version.

    Raises:
        ParameterError: If the loss needs one that the other does not offer.
    """
    # One that cannot be made scales nothing; what is wrong with it is said where it is trained.
    scale = getattr(attempt(defenses.create, loss), "activation_scale", 1.0)
    given = protocols.resolve(protocol)
    if scale != 1:
        given = protocols.resolve(protocols.create(given).boosted(scale))
    edits = code_behind(str(given))
    return str(given), {CODE: edits} if edits else {}


def _resolved(
    attack: str, defense: str, budget: Budget | None
) -> tuple[Spec, Spec, dict[str, str]]:
    """A pair's resolved specs, and their versions."""
    defended = defenses.resolve(defense)
    attacked = attack_met(attack, defended)
    if budget is not None:
        attacked = with_budget(attacked, budget)
    versions = {"attack": attack_version(attacked), "defense": defenses.version(defended)}
    return attacked, defended, versions


def with_budget(attack: Spec, budget: Budget) -> Spec:
    """The resolved spec of an attack at a budget: its own rate counts no more, and is the budget's.

    Args:
        attack: Resolved spec.
        budget: Labels to remove.

    Raises:
        AttackError: If the attack changes labels instead of removing them.
    """
    check_removes(attacks.create(attack), budget)
    given = dict(attack.params)
    if "rate" not in given:
        return attack
    return attacks.resolve(Spec.of(attack.name, given | {"rate": budget.share}))


def attack_met(attack: str, defense: Spec) -> Spec:
    """The resolved attack under which a defense is run: none where it is told all labels."""
    loss = defenses.get(defense.name)
    return attacks.resolve("none" if loss.oracle and not loss.sees_attack else attack)


def _reduced(recipe: Recipe, defense: Spec, reduction: Reduction) -> Recipe:
    """A recipe with a reduction, where it makes a difference to the loss."""
    sums = defenses.get(defense.name).reduction == "sum"
    return recipe.model_copy(update={"reduction": reduction if sums else "native"})
