"""The benchmark from Python: ``labelattack bench``, ``show``, ``check``, ``compare`` as functions.

    import labelattack

    results = labelattack.bench(attacks=["targeted:rate=0.4"], defenses=["an", "pseudo-history"])
    results.to_dataframe()

In a notebook, a result shows its leaderboards.
"""

from __future__ import annotations

from labelattack.api.comparison import check, compare
from labelattack.api.functions import bench, open
from labelattack.api.results import Results

__all__ = ["Results", "bench", "check", "compare", "open"]
