"""Checks of a grid before anything is trained: all that can be known beforehand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from labelattack.attacks import registry as attacks
from labelattack.benchmark.execution.context import attacked_labels, load, task_of
from labelattack.benchmark.plan.cell import Cell
from labelattack.defenses import registry as defenses
from labelattack.errors import LabelAttackError
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
    by_dataset: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_dataset[cell.dataset].append(cell)
    for dataset, members in by_dataset.items():
        splits = load(dataset)
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


@contextmanager
def _of(component: str) -> Iterator[None]:
    try:
        with torch_defaults_kept(component):
            yield
    except LabelAttackError:
        raise
    except (Exception, SystemExit):
        pass  # a stranger's code; the cells that need it will say so
