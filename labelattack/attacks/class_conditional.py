"""Positives that are missing at a rate of their class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.attacks import register
from labelattack.attacks.removal import PositiveRemoval
from labelattack.attacks.strata import numbered
from labelattack.errors import AttackError, ParameterError
from labelattack.files.storage import FilePath
from labelattack.labels import PartialLabels
from labelattack.labels.class_columns import columns_of
from labelattack.labels.side_lookup import table_of
from labelattack.labels.storage import IntArray
from labelattack.seeding import raw_words

_WHO = "attack 'class-conditional'"


@register("class-conditional")
@dataclass(frozen=True, kw_only=True)
class ClassConditional(PositiveRemoval):
    """Removes positives at a rate of their class, and all negatives.

    The positives of each class are numbered in a random order; the r-th (from 0) of n_c has the key
    (r + 1/2) / (n_c q_c), and the smallest keys are removed first. So at every budget each class
    has lost a share of its positives in proportion to q_c, until it is empty. The family (labels
    missing not at random, at a class's rate) is known; this method, by which budgets are exact and
    nested, is our definition. There are no published settings.

    Args:
        setting: ``tail`` has q_c = (n_c / max n)^-gamma, so that rare classes lose more; ``head``
            has (n_c / max n)^gamma; ``wipe-out`` removes whole classes, the rarest first (of equal
            ones the first), the last one in part; ``file`` takes q_c from ``rates``.
        gamma: Exponent of ``tail`` and ``head``; 0 is the same rate for all classes.
        rates: For ``file``, a table ``class,weight`` with weights from 0 to 1, of which only the
            proportions matter.
        classes: Names or column numbers of the classes that alone lose positives, joined by ``+``;
            empty for all. ``rate`` is a share of the positives of all classes nevertheless.
    """

    source: ClassVar[str] = "our definition; missing not at random"
    references: ClassVar[str] = "labelattack"

    setting: Literal["tail", "head", "wipe-out", "file"] = "tail"
    gamma: Annotated[float, Field(ge=0, le=10)] = 1.0
    rates: FilePath = ""
    classes: str = ""

    def __post_init__(self) -> None:
        """Raises ParameterError unless setting and rates agree."""
        if (self.setting == "file") != bool(self.rates):
            raise ParameterError(
                f"{_WHO} must have setting 'file' together with 'rates', got setting "
                f"'{self.setting}' and rates '{self.rates}'"
            )

    def priority(self, labels: PartialLabels, rng: np.random.Generator) -> NDArray[np.float64]:
        """Orders the positives by class, or by their number in it over its rate.

        Raises:
            AttackError: If the classes with a rate have fewer positives than are to be removed.
            LabelError: If the file of rates is refused.
            UnknownNameError: If there is no class of a name.
        """
        _, columns = labels.positive_entries()
        sizes = labels.per_class("positives")
        rates = self._rates(labels, sizes)
        self._check_budget(int(sizes[rates > 0].sum()), len(columns))
        if self.setting == "wipe-out":
            rarity = np.argsort(np.argsort(sizes, kind="stable"))
            return np.where(rates > 0, -rarity, -np.inf)[columns]
        numbers = numbered(columns, raw_words(rng, len(columns)))
        of_class, reached = rates[columns], np.full(len(columns), np.inf)
        shares = (numbers + 0.5) / sizes[columns]
        np.divide(shares, of_class, out=reached, where=of_class > 0)
        # Keys of two classes are often equal but for rounding, which is not that of every machine.
        digits, exponent = np.frexp(reached)
        rounded: NDArray[np.float64] = np.ldexp(np.rint(np.ldexp(digits, 40)), exponent - 40)
        return -rounded

    def _rates(self, labels: PartialLabels, sizes: IntArray) -> NDArray[np.float64]:
        """Rate of each class, up to a factor, float64 ``[labels]``."""
        if self.setting == "file":
            rates: NDArray[np.float64] = table_of("weights", self.rates, labels, _WHO).copy()
        else:
            exponent = {"tail": -self.gamma, "head": self.gamma}.get(self.setting, 0.0)
            rates = (np.maximum(sizes, 1) / max(int(sizes.max(initial=1)), 1)) ** exponent
        if self.classes:
            others = np.ones(len(rates), dtype=np.bool_)
            others[columns_of(self.classes, labels, _WHO)] = False
            rates[others] = 0
        return rates

    def _check_budget(self, aimed: int, positives: int) -> None:
        if (wanted := round(self.rate * positives)) > aimed:
            most = math.floor(1000 * aimed / positives) / 1000
            raise AttackError(
                f"{_WHO} must have classes with at least {wanted} positives to remove at rate "
                f"{self.rate}, got {aimed} of {positives}; rates up to {most:g} are possible"
            )
