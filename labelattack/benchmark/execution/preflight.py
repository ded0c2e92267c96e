"""Checks of a grid before anything is trained: all that can be known beforehand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labelattack.attacks import registry as attacks
from labelattack.attacks.budget import Budget, at_budget
from labelattack.attacks.knowledge import asked_needs, lacking_text
from labelattack.attacks.sets import expanded
from labelattack.benchmark.execution.context import attacked_labels, data_of, task_of
from labelattack.benchmark.plan.cell import Cell
from labelattack.benchmark.plan.grid import Grid
from labelattack.datasets.base import Splits
from labelattack.defenses import registry as defenses
from labelattack.errors import AttackError, LabelAttackError
from labelattack.labels import PartialLabels
from labelattack.models import registry as models
from labelattack.registry.torch_defaults import torch_defaults_kept
from labelattack.training.compute import ONE_CPU, Compute
from labelattack.training.protocols import registry as protocols
from labelattack.training.validation import check_choice


def check_cells(cells: Sequence[Cell], *, build: bool = True, compute: Compute = ONE_CPU) -> None:
    """Attacks the labels, binds every loss and builds what is trained of every model, once each.

    A plug-in that raises anything of its own is left alone: its cells fail one by one, at once and
    with the reason, and the others go on.

    Args:
        cells: What is to be run.
        build: Whether models are built and knowledge of attacks is computed, too; not where other
            machines do so.
        compute: Where to compute such knowledge.

    Raises:
        LabelAttackError: If an attack or a loss refuses these labels, a model cannot be built, or
            validation labels cannot choose among the recipes.
    """
    by_dataset: dict[tuple[str, int | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_dataset[cell.dataset, cell.limit].append(cell)
    for members in by_dataset.values():
        splits = data_of(members[0])
        recipes = Counter((cell.attack, cell.defense, cell.seed) for cell in members)
        check_choice(splits.val, max(recipes.values()), members[0].selection)
        attacked: dict[str, PartialLabels] = {}
        for attack, cell in {cell.attack: cell for cell in reversed(members)}.items():
            if build or not attacks.create(attack).needs:
                with _of(f"attack '{attack}'"):
                    attacked[attack] = attacked_labels(cell, compute).labels
        # No loss is shown more than it will train on.
        shown = {cell.loss: attacked.get(cell.attack) for cell in reversed(members)}
        for loss, labels in shown.items():
            if labels is not None:
                with _of(f"defense '{loss}'"):
                    defenses.create(loss).bind(task_of(loss, splits, labels, seed=0))
        if build:
            for model, protocol in dict.fromkeys((c.model, c.protocol) for c in members):
                with _of(f"model '{model}'"):
                    protocols.create(protocol).build(
                        models.create(model), len(splits.classes), seed=0
                    )


def usable_attacks(grid: Grid, splits: Splits) -> tuple[tuple[str, ...], list[str]]:
    """Attacks of a grid that a dataset allows: others are left out, and notes say which and why.

    Left out are members of a set for which the dataset has no knowledge, and under a budget those
    that cannot remove as much.

    Args:
        grid: The grid.
        splits: Its dataset.

    Returns:
        Specs, and the notes.

    Raises:
        AttackError: If an attack that was named by itself lacks knowledge, or none is left.
    """
    specs, brought = expanded(grid.attacks)
    there = {
        "boxes": splits.train.objects is not None,
        "areas": splits.train.objects is not None,
        "groups": splits.train.groups is not None,
        "weights": False,
    }
    usable: list[str] = []
    errors: list[AttackError] = []
    for spec in specs:
        attack = attacks.create(spec)
        lacking = [need for need in asked_needs(attack) if not there.get(need, True)]
        try:
            if lacking:
                raise AttackError(lacking_text(attack, lacking[0]))
            if grid.budget is not None and not attack.needs:
                budget = Budget.parse(grid.budget)
                at_budget(attack, budget, splits.train.partial, seed=grid.seeds[0])
        except AttackError as error:
            if lacking and spec not in brought:
                raise
            errors.append(error)
        else:
            usable.append(spec)
    if errors and not usable:
        raise errors[0]
    return tuple(usable), [f"left out: {error}" for error in errors]


@contextmanager
def _of(component: str) -> Iterator[None]:
    try:
        with torch_defaults_kept(component):
            yield
    except LabelAttackError:
        raise
    except (Exception, SystemExit):
        pass  # a stranger's code; the cells that need it will say so
