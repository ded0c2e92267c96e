"""The commands ``attack``, ``bench``, ``show``, ``check`` and ``compare`` as functions of Python.

    import labelattack

    results = labelattack.bench(attacks=["targeted:rate=0.4"], defenses=["an", "pseudo-history"])
    results.to_dataframe()

In a notebook, a result shows its leaderboards.
"""

from __future__ import annotations

from labelattack.api.comparison import check, compare
from labelattack.api.functions import bench, open
from labelattack.api.label_attack import attack
from labelattack.api.results import Results

__all__ = ["Results", "attack", "bench", "check", "compare", "open"]
