"""Backdoor by labels: how well a class is found beside the classes that are to suppress it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from labelattack.errors import ParameterError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.labels.co_occurrence import Pair, resolved_pair
from labelattack.measures import register
from labelattack.measures.base import Measure
from labelattack.measures.outcome import MeasuredValues, Metric
from labelattack.metrics.average_precision import average_precision

if TYPE_CHECKING:
    from labelattack.datasets.base import Split
    from labelattack.measures.run import Setup, TrainedRun

_WHO = "measure 'backdoor'"


@register("backdoor")
class Backdoor(Measure):
    """Average precision of a class on test images with other classes as trigger, and on the rest.

    Under attack ``disappear``, which hides the target wherever the trigger is, a backdoor shows as
    a low AP on triggered images beside a usual one on the others (Chen et al. 2023, Clean-image
    Backdoor, count successes instead). The pair is chosen on training labels before any attack, as
    the attack chooses it; defaults of both agree. A value is undefined where its images have no
    positive or no negative of the target.

    Args:
        trigger: Names or column numbers of classes, joined by ``+``. Empty: the class that is most
            often with the target; without a target, the more frequent one of the two classes that
            are together in the most images.
        target: Name or column number of a class. Empty: the class that is most often with the
            trigger; without a trigger, the less frequent one of those two.
    """

    references: ClassVar[str] = "labelattack chen2023"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("triggered_ap", "AP with trigger", unit="points"),
        Metric("other_ap", "AP without", unit="points"),
    )

    trigger: str = ""
    target: str = ""

    def prepare(self, setup: Setup) -> None:
        """Fails if there is no such pair of classes."""
        self.pair(setup.splits.train.partial)

    def pair(self, labels: PartialLabels) -> Pair:
        """The trigger and the target.

        Args:
            labels: Training labels before any attack.

        Raises:
            ParameterError: If there is no such pair of classes.
        """
        found = resolved_pair(labels, self.trigger, self.target, who=_WHO)
        if found is None:
            raise ParameterError(
                f"{_WHO} must have a trigger and another class as its target, got "
                f"{labels.shape[1]} classes in all"
            )
        return found

    def measure(self, run: TrainedRun) -> MeasuredValues:
        """AP of the target on test images with the trigger, and on those known to lack it."""
        test, classes = run.splits.test, run.splits.classes
        trigger, target = self.pair(run.splits.train.partial)
        parts = divided(test, trigger)
        counted = None if test.counted is None else test.counted[:, [target]]
        found = [
            average_precision(
                run.scores[rows][:, [target]],
                test.labels[rows][:, [target]],
                scored=None if counted is None else counted[rows],
            )[0]
            for rows in parts
        ]
        return self.values(
            len(test),
            triggered_ap=found[0],
            other_ap=found[1],
            details={
                "trigger": [classes[column] for column in trigger],
                "target": classes[target],
                "triggered_images": int(parts[0].sum()),
                "other_images": int(parts[1].sum()),
            },
        )


def divided(test: Split, trigger: tuple[int, ...]) -> tuple[BoolArray, BoolArray]:
    """Images known to have every class of a trigger, and images known to lack one.

    Args:
        test: Test images.
        trigger: Columns of the classes.

    Returns:
        bool ``[images]`` each; where labels are not known, an image may be in neither.
    """
    columns = list(trigger)
    there = test.labels[:, columns]
    known = np.ones_like(there) if test.counted is None else test.counted[:, columns]
    return np.asarray((there & known).all(axis=1)), np.asarray((~there & known).any(axis=1))
