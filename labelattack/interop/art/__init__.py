"""For users of the Adversarial Robustness Toolbox: our attacks in it, its attacks on our models.

Importing this package imports ART, and nothing else in ``labelattack`` does before it is asked for
something of ART's. ART writes a configuration file into the home folder and takes over logging when
it is imported; both are held back ([quietly][labelattack.interop.art._import]) for whoever imports
this before ``art``.
"""

# ruff: noqa: E402  # nothing of ART may be imported before its traces are held back
from labelattack.interop.art._import import import_art

import_art()

from labelattack.interop.art.estimator import MultiLabelClassifier
from labelattack.interop.art.poisoning import LabelRemoval

__all__ = ["LabelRemoval", "MultiLabelClassifier"]
