"""mAP under common corruptions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from labelattack.corruptions import STANDARD
from labelattack.corruptions import registry as corruptions
from labelattack.corruptions.tables import SEVERITIES, TABLES
from labelattack.datasets.base import Split
from labelattack.datasets.decoding import Pixels
from labelattack.datasets.images import Images
from labelattack.hashing import digest
from labelattack.measures.run import Setup, TrainedRun
from labelattack.metrics.average_precision import FloatArray, chance_map, mean_average_precision
from labelattack.process_cache import ProcessCache
from labelattack.seeding import generator
from labelattack.training.feature_cache import features
from labelattack.training.inputs import FeatureInputs, ImageInputs, Inputs, squash
from labelattack.training.loop import predict

if TYPE_CHECKING:
    from labelattack.measures.corruption import Corrupted, CorruptionSettings


def _turns(settings: CorruptionSettings) -> tuple[tuple[str, int], ...]:
    """Each corruption at each severity, in the order of the images."""
    return tuple(product(settings.names, SEVERITIES))


@dataclass(frozen=True, eq=False)
class CorruptedImages:
    """Images as they are, then all of them under each corruption and severity.

    Attributes:
        images: What is corrupted.
        size: Side to which they are squashed before; None leaves them as they are.
        settings: How they are corrupted.
    """

    images: Images
    size: int | None
    settings: CorruptionSettings

    def __len__(self) -> int:
        return len(self.images) * (1 + len(_turns(self.settings)))

    def __getitem__(self, index: int) -> Pixels:
        turn, row = divmod(index, len(self.images))
        image = squash(self.images[row], self.size)
        if not turn:
            return image
        name, severity = _turns(self.settings)[turn - 1]
        corruption = corruptions.create(name)
        table = self.settings.table_for(min(image.shape[:2]))
        # The same noise at each severity: they differ by its strength alone.
        rng = generator(self.settings.seed, "corruption", name, str(row))
        return corruption(image, corruption.strengths[table][severity - 1], rng)

    def fingerprint(self) -> str:
        """Hash of the images and of all that is done to them."""
        names = self.settings.names
        strengths = {
            table: {name: corruptions.get(name).strengths[table] for name in names}
            for table in TABLES
        }
        images, settings = self.images.fingerprint(), self.settings.model_dump()
        parts: list[Any] = [images, self.size, settings, strengths]
        if names != STANDARD:
            parts.append([corruptions.version(name) for name in names])
        return digest(parts)


def corrupted_split(test: Split, size: int | None, settings: CorruptionSettings) -> Split:
    """A split of [CorruptedImages][labelattack.measures._corruption.CorruptedImages].

    Args:
        test: The images; all are used.
        size: Side to which they are squashed before.
        settings: How they are corrupted.
    """
    turns = _turns(settings)
    names = ["", *(f"{corruption}-{severity}:" for corruption, severity in turns)]
    return Split(
        CorruptedImages(test.images, size, settings),
        np.tile(test.labels, (len(names), 1)),
        [f"{name}{id}" for name in names for id in test.ids],
        None if test.counted is None else np.tile(test.counted, (len(names), 1)),
    )


def corrupted(
    scores: FloatArray, test: Split, side: int, settings: CorruptionSettings
) -> Corrupted:
    """Sums up what a model says of corrupted images.

    Args:
        scores: Of a [corrupted_split][labelattack.measures._corruption.corrupted_split], float
            ``[(1 + corruptions x severities) images, labels]``.
        test: The images that were corrupted.
        side: Short side of an image as the model takes it, in pixels.
        settings: How they were corrupted.
    """
    turns = _turns(settings)
    by_turn = scores.reshape(1 + len(turns), *test.labels.shape)
    clean, *maps = (mean_average_precision(of, test.labels, scored=test.counted) for of in by_turn)
    by_severity: dict[str, tuple[float, ...]] = {
        corruption: tuple(m for (kind, _), m in zip(turns, maps, strict=True) if kind == corruption)
        for corruption in settings.names
    }
    return cast("type[Corrupted]", settings.outcome)(
        settings=settings,
        images=len(test.labels),
        clean=clean,
        chance=chance_map(test.labels, scored=test.counted),
        map=float(np.mean(maps)),
        table=settings.table_for(side),
        by_severity=by_severity,
    )


_INPUTS: ProcessCache[Inputs] = ProcessCache(1)


def corrupted_run(run: TrainedRun, settings: CorruptionSettings) -> Corrupted:
    """Outcome of a trained network under corruptions."""
    target = run.compute.torch_device
    network = run.trained.to(target) if run.training.on_features else run.network
    scores = predict(network, corrupted_inputs(run, settings), alone=True)
    test = run.subset(settings.images, settings.seed)
    side = run.preprocessing.size or min(test.images[0].shape[:2])
    return corrupted(scores, test, side, settings)


def corrupted_inputs(setup: Setup, settings: CorruptionSettings) -> Inputs:
    """The corrupted test images, or their pooled features by a frozen backbone, from the cache.

    Args:
        setup: Dataset, model and protocol.
        settings: How to corrupt.
    """
    key = setup.splits.fingerprint, setup.spec, setup.protocol, settings, setup.compute.device
    return _INPUTS.get(key, lambda: _corrupted_inputs(setup, settings))


def _corrupted_inputs(setup: Setup, settings: CorruptionSettings) -> Inputs:
    preprocessing, compute = setup.preprocessing, setup.compute
    test = setup.subset(settings.images, settings.seed)
    split = corrupted_split(test, preprocessing.size, settings)
    where = compute.torch_device
    if not setup.training.on_features:
        return ImageInputs(split.images, preprocessing, where)
    pooled = features(split, setup.spec, compute=compute)
    return FeatureInputs(pooled["features"], where)
