"""Full-label references: the losses of ``an.py``, given the clean labels."""

from __future__ import annotations

from typing import ClassVar

from labelattack.defenses import register
from labelattack.defenses.an import AssumeNegative, SmoothedAssumeNegative


@register("bce")
class BinaryCrossEntropy(AssumeNegative):
    """Binary cross-entropy on the clean labels: what no attack would give."""

    source: ClassVar[str] = "Zhang et al., Eq. 1"
    oracle: ClassVar[bool] = True


@register("bce-ls")
class SmoothedBinaryCrossEntropy(SmoothedAssumeNegative):
    """Binary cross-entropy with label smoothing on the clean labels.

    Args:
        smoothing: Targets are 1 - smoothing and smoothing.
    """

    source: ClassVar[str] = "Zhang et al., Eq. 1; Szegedy et al. 2016 for smoothing"
    oracle: ClassVar[bool] = True
