"""Attack that removes what a surrogate model would miss most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from labelattack.attacks import register
from labelattack.attacks.influence import problem_of, removal_order
from labelattack.attacks.knowledge import Knowledge, Need
from labelattack.attacks.removal import InformedRemoval
from labelattack.labels import PartialLabels
from labelattack.seeding import raw_words


@register("greedy")
@dataclass(frozen=True, kw_only=True)
class GreedyAttack(InformedRemoval):
    """Removes the positives of largest influence on the held-out loss.

    The surrogate of each class is an L2-regularised logistic regression on standardised features,
    reduced to their principal axes, trained by assumed negatives: hidden entries are negatives. In
    each round every positive still known gets the growth of the held-out loss that is estimated if
    it becomes a negative, -g·H⁻¹x / n, where g is the gradient of the held-out loss of its class, H
    the Hessian of the training loss, and x its features. The round's positives of the largest
    growth are removed, over all classes together, and the surrogates are fitted again. The rounds
    do not depend on the rate, so budgets are nested. Our definition: influence-based poisoning of
    labels, for removal.

    It knows features of the images, and features and clean labels of others; the rate is a share of
    all known positives. Chance has a part in ties alone. Sums of floats round differently on other
    processors, which may exchange positives of nearly equal influence.

    Args:
        rate: Share of the known positives that is removed, in [0, 1]: exactly
            round(rate * positives).
        keep_negatives: Keep negatives known.
        objective: Held-out loss, a mean over classes: ``ranking`` is the mean over pairs of a
            positive and a negative of softplus(negative score - positive score), which mAP follows
            and a shift of all scores keeps; ``likelihood`` is the binary cross-entropy.
        rounds: Rounds in which all positives would be removed: each removes
            ceil(positives / rounds).
        l2: Weight decay of the surrogates, beside the mean loss. A strong one stands for a network
            that is trained for a few epochs: on validation images it did most harm to ``an``
            (``python benchmarks/attacks/greedy.py``).
        dimensions: Most principal axes of the features that surrogates see.
    """

    source: ClassVar[str] = "our definition, after Koh and Liang 2017, Influence Functions"
    references: ClassVar[str] = "labelattack koh2017"
    needs: ClassVar[tuple[Need, ...]] = ("features", "held_out")

    objective: Literal["ranking", "likelihood"] = "ranking"
    rounds: Annotated[int, Field(ge=1)] = 50
    l2: Annotated[float, Field(gt=0)] = 10.0
    dimensions: Annotated[int, Field(ge=1)] = 256

    def priority(
        self, labels: PartialLabels, knowledge: Knowledge, rng: np.random.Generator
    ) -> NDArray[Any]:
        """Greedy order, as far as the rate needs it; the others come last."""
        total = labels.known_positives
        words, count = raw_words(rng, total), round(self.rate * total)
        priority = np.zeros(total)
        if not count:
            return priority
        features, held_out = knowledge.features, knowledge.held_out
        # On one thread sums do not depend on the number of cores; several are hardly faster.
        with threadpool_limits(1, user_api="blas"):
            problem = problem_of(
                features,
                held_out,
                dimensions=self.dimensions,
                l2=self.l2,
                objective=self.objective,
            )
            at_once = math.ceil(total / self.rounds)
            order = removal_order(problem, labels, count, at_once, words)
        priority[order] = np.arange(count, 0, -1)
        return priority
