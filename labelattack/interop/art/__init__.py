"""Bridge to the Adversarial Robustness Toolbox (ART): label attacks for ART, ART's attacks here.

Importing this package imports ART; the rest of ``labelattack`` imports it only when needed. On
import, ART writes a configuration file into the home folder and takes over logging; both are
prevented ([how][labelattack.interop.art._import]) if this package is imported before ``art``.
"""

# ruff: noqa: E402  # ART must not be imported before its side effects are suppressed
from labelattack.interop.art._import import import_art

import_art()

from labelattack.interop.art.estimator import MultiLabelClassifier
from labelattack.interop.art.poisoning import LabelRemoval

__all__ = ["LabelRemoval", "MultiLabelClassifier"]
