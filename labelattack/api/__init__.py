"""The benchmark from Python: what ``labelattack bench``, ``show`` and ``check`` do, as functions.

    import labelattack

    results = labelattack.bench(attacks=["targeted:rate=0.4"], defenses=["an", "pseudo-history"])
    results.to_dataframe()

In a notebook, a result shows its leaderboards.
"""

from __future__ import annotations

from labelattack.api.functions import bench, check, open
from labelattack.api.results import Results

__all__ = ["Results", "bench", "check", "open"]
