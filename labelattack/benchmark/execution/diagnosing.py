"""Measuring the D-Score of what cells trained."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from torch import Tensor, nn

from labelattack.benchmark.execution.context import chosen_test, load, on_forget
from labelattack.benchmark.plan.cell import Cell
from labelattack.datasets.base import Progress, Split
from labelattack.errors import ModelError, StoreError
from labelattack.measures._d_score.ablation import Parts, mutants
from labelattack.measures._d_score.distributions import Looks
from labelattack.measures._d_score.outcome import Diagnosis
from labelattack.measures._d_score.scoring import (
    box_densities,
    diagnose,
    looks_of_head,
    looks_of_network,
    parts_of_backbone,
    shape_of,
)
from labelattack.measures._d_score.settings import CHEAP_OPERATOR, DScoreSettings
from labelattack.models import registry as models
from labelattack.models.base import Network
from labelattack.models.weights import fit
from labelattack.mutations.base import Stage
from labelattack.registry.spec import Spec
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import ImageInputs


@lru_cache(maxsize=2)
def _parts(dataset: str, model: Spec, settings: DScoreSettings, device: str) -> tuple[Parts, Stage]:
    stage = shape_of(load(dataset), model, settings, device=resolve_device(device))
    chosen = chosen_test(dataset, settings.images, settings.seed)
    return parts_of_backbone(chosen, model, stage, settings, device=device), stage


on_forget(_parts.cache_clear)


def looks_of(
    dataset: str, model: str, network: nn.Module, settings: DScoreSettings, *, device: str = "cpu"
) -> tuple[Looks, Split, Stage]:
    """What a trained network says of the test images when parts of it, or of them, are gone.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        network: The whole network, or under the linear protocol the head.
        settings: What to measure.
        device: Where to compute.

    Returns:
        Logits, the images used (the same for every network on a dataset), and map and grid; what
        [diagnose][labelattack.measures._d_score.scoring.diagnose] takes.
    """
    resolved = models.resolve(model)
    test = chosen_test(dataset, settings.images, settings.seed)
    if isinstance(network, nn.Linear) and settings.operator == CHEAP_OPERATOR:
        parts, stage = _parts(dataset, resolved, settings, device)
        return looks_of_head(network, parts), test, stage
    built, target = models.create(resolved), resolve_device(device)
    if isinstance(network, nn.Linear):
        network = Network(built.frozen(), network)
    inputs = ImageInputs(test.images, built.preprocessing, target)
    looks, stage = looks_of_network(network.to(target), "backbone", inputs, settings)
    return looks, test, stage


def protocol_of(state: Mapping[str, Tensor]) -> str:
    """Under which protocol weights were trained: the linear one trains the head only."""
    names = sorted(name.rpartition(".")[2] for name in state)
    return "linear" if names == ["bias", "weight"] else "finetune"


def rebuild(dataset: str, model: str, state: Mapping[str, Tensor]) -> nn.Module:
    """A trained network, or under the linear protocol its head, from weights.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        state: ``weight`` and ``bias`` of a head, or everything.

    Raises:
        StoreError: If the weights do not fit.
    """
    built, labels = models.create(model), len(load(dataset).classes)
    linear = protocol_of(state) == "linear"
    network = built.head(labels, seed=0) if linear else built.build(labels, seed=0)
    try:
        fit(network, state, f"weights must fit model '{model}' on '{dataset}'")
    except ModelError as error:
        raise StoreError(str(error)) from error
    return network


def diagnosis_of(
    cell: Cell, network: nn.Module, settings: DScoreSettings, *, device: str = "cpu"
) -> Diagnosis:
    """D-Score of what a cell trained: the whole network, or under the linear protocol the head."""
    looks = looks_of(cell.dataset, cell.model, network, settings, device=device)
    return diagnose(*looks, settings)


def prepare_d_score(
    dataset: str,
    model: str,
    protocol: str,
    settings: DScoreSettings,
    device: str,
    jobs: int,
    plugins: tuple[str, ...],
    progress: Progress,
) -> None:
    """Finds what cannot be measured before anything is trained, and fills the cache.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: What was or will be trained; only linear heads have something to cache.
        settings: What to measure.
        device: Where to compute.
        jobs: Processes.
        plugins: Plug-in files that those must load.
        progress: Told of the extraction.

    Raises:
        ParameterError: If the grid does not fit the model's last stage.
        DatasetError: If boxes are asked for and the dataset has none.
    """
    resolved, splits = models.resolve(model), load(dataset)
    stage = shape_of(splits, resolved, settings, device=resolve_device(device))
    mutants(stage, settings)
    chosen = chosen_test(dataset, settings.images, settings.seed)
    if settings.features == "boxes":
        box_densities(chosen, stage.rows, stage.columns)
    if protocol == "linear" and settings.operator == CHEAP_OPERATOR:
        parts_of_backbone(
            chosen,
            resolved,
            stage,
            settings,
            device=str(resolve_device(device)),
            jobs=jobs,
            plugins=plugins,
            progress=progress,
        )
