"""Measuring how what cells trained bears changed pixels."""

from __future__ import annotations

from torch import nn

from labelattack.benchmark.execution.context import chosen_test, on_forget
from labelattack.benchmark.plan.cell import Cell
from labelattack.datasets.base import Progress
from labelattack.measures._px_corruption import corrupted, corrupted_split
from labelattack.measures._px_evasion import evaded
from labelattack.measures._px_outcome import Corrupted, Evaded
from labelattack.measures._px_settings import CorruptionSettings, EvasionSettings
from labelattack.models import registry as models
from labelattack.models.base import Network
from labelattack.registry.spec import Spec
from labelattack.training.feature_cache import features
from labelattack.training.hardware import resolve_device
from labelattack.training.inputs import FeatureInputs, ImageInputs, Inputs
from labelattack.training.loop import predict


def prepare_evasion() -> None:
    """Finds out before anything is trained whether attacks can be made.

    Raises:
        LabelAttackError: If ART is not installed.
    """
    import labelattack.interop.art  # noqa: F401


def evasion_of(
    cell: Cell, network: nn.Module, settings: EvasionSettings, *, device: str = "cpu"
) -> Evaded:
    """MAP under attack of what a cell trained; a head is attacked through its frozen backbone."""
    model = models.create(cell.model)
    if isinstance(network, nn.Linear):
        network = Network(model.frozen(), network)
    test = chosen_test(cell.dataset, settings.images, settings.seed)
    network.to(resolve_device(device))
    return evaded(network, test, model.preprocessing, settings)


def corruption_of(
    cell: Cell, network: nn.Module, settings: CorruptionSettings, *, device: str = "cpu"
) -> Corrupted:
    """MAP under corruptions of what a cell trained."""
    inputs = corrupted_inputs(
        cell.dataset, models.resolve(cell.model), cell.protocol, settings, device
    )
    scores = predict(network.to(resolve_device(device)), inputs, alone=True)
    test = chosen_test(cell.dataset, settings.images, settings.seed)
    side = models.create(cell.model).preprocessing.size or min(test.images[0].shape[:2])
    return corrupted(scores, test, side, settings)


_corrupted: dict[tuple[object, ...], Inputs] = {}  # those that were asked for last
on_forget(_corrupted.clear)


def corrupted_inputs(
    dataset: str,
    model: Spec,
    protocol: str,
    settings: CorruptionSettings,
    device: str,
    *,
    jobs: int = 1,
    plugins: tuple[str, ...] = (),
    progress: Progress = lambda what, done, total: None,
) -> Inputs:
    """The corrupted test images, or what a frozen backbone gives for them, from the cache.

    Args:
        dataset: Resolved spec.
        model: Resolved spec.
        protocol: What was or will be trained.
        settings: How to corrupt.
        device: Where to compute.
        jobs: Processes for feature extraction.
        plugins: Plug-in files that those must load.
        progress: Told of the extraction.
    """
    # How they are made, and who is told of it, makes no difference to what they are.
    key = dataset, model, protocol, settings, device
    if key not in _corrupted:
        _corrupted.clear()
        _corrupted[key] = _corrupted_inputs(*key, jobs, plugins, progress)
    return _corrupted[key]


def _corrupted_inputs(
    dataset: str,
    model: Spec,
    protocol: str,
    settings: CorruptionSettings,
    device: str,
    jobs: int,
    plugins: tuple[str, ...],
    progress: Progress,
) -> Inputs:
    preprocessing = models.create(model).preprocessing
    test = chosen_test(dataset, settings.images, settings.seed)
    split = corrupted_split(test, preprocessing.size, settings)
    where = resolve_device(device)
    if protocol == "finetune":
        return ImageInputs(split.images, preprocessing, where)
    found = features(split, model, device=device, jobs=jobs, plugins=plugins, progress=progress)
    return FeatureInputs(found["features"], where)
