"""Label-removal attacks, partial-label losses, and a benchmark that crosses them.

Public names are imported on first use, so that ``import labelattack`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelattack.api import Results as Results
    from labelattack.api import attack as attack
    from labelattack.api import bench as bench
    from labelattack.api import check as check
    from labelattack.api import compare as compare
    from labelattack.api import open as open
    from labelattack.api.evaluation import Evaluation as Evaluation
    from labelattack.api.evaluation import evaluate as evaluate
    from labelattack.attacks.base import LabelAttack as LabelAttack
    from labelattack.attacks.corruption import LabelCorruption as LabelCorruption
    from labelattack.attacks.informed import InformedAttack as InformedAttack
    from labelattack.benchmark.plan.config import Experiment as Experiment
    from labelattack.benchmark.store.store import RecordStore as RecordStore
    from labelattack.defenses.base import PartialLabelLoss as PartialLabelLoss
    from labelattack.defenses.base import Step as Step
    from labelattack.defenses.base import Task as Task
    from labelattack.errors import LabelAttackError as LabelAttackError
    from labelattack.labels import PartialLabels as PartialLabels
    from labelattack.measures.d_score import DScoreSettings as DScoreSettings
    from labelattack.measures.d_score import d_score as d_score
    from labelattack.metrics.average_precision import average_precision as average_precision
    from labelattack.mutations.base import MutationOperator as MutationOperator
    from labelattack.training.criterion import Criterion as Criterion

_HOMES = {
    "attack": "api",
    "bench": "api",
    "check": "api",
    "compare": "api",
    "Evaluation": "api.evaluation",
    "evaluate": "api.evaluation",
    "open": "api",
    "Results": "api",
    "Experiment": "benchmark.plan.config",
    "RecordStore": "benchmark.store.store",
    "Criterion": "training.criterion",
    "LabelAttack": "attacks.base",
    "InformedAttack": "attacks.informed",
    "LabelCorruption": "attacks.corruption",
    "PartialLabelLoss": "defenses.base",
    "Step": "defenses.base",
    "Task": "defenses.base",
    "DScoreSettings": "measures.d_score",
    "LabelAttackError": "errors",
    "MutationOperator": "mutations.base",
    "PartialLabels": "labels",
    "average_precision": "metrics.average_precision",
    "d_score": "measures.d_score",
}
_MODULES = (
    "attacks", "defenses", "datasets", "models", "mutations", "metrics", "training", "testing",
    "measures", "corruptions",
)  # fmt: skip

# A star import must not hide the built-in ``open``.
__all__ = [name for name in (*_HOMES, *_MODULES) if name != "open"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"labelattack.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"labelattack.{name}")
    raise AttributeError(f"module 'labelattack' has no attribute '{name}'")
