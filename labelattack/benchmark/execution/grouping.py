"""Groups of cells that are run as one unit of work."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from labelattack.benchmark.execution.context import data_of
from labelattack.benchmark.plan.cell import Cell
from labelattack.datasets import registry as datasets
from labelattack.models import registry as models
from labelattack.training.hardware import resolve_device
from labelattack.training.protocols import registry as protocols

_log = logging.getLogger("labelattack")


def groups(cells: Sequence[Cell], jobs: int = 1, device: str = "cpu") -> list[list[Cell]]:
    """Divides cells into units of work.

    Args:
        cells: What is to be run.
        jobs: Processes that each want something to do.
        device: Where they compute, or one of this machine's that is like it.

    Returns:
        Cells of one dataset and model that their protocol trains together, as many at once as it
        asks for: defenses together, and within one the cells of a seed. Other cells one by one. In
        the order of their first cells.
    """
    together: dict[tuple[object, ...], list[Cell]] = defaultdict(list)
    alone: dict[str, int] = defaultdict(int)
    known = {name: protocols.create(name) for name in dict.fromkeys(c.protocol for c in cells)}
    for cell in cells:
        key = known[cell.protocol].group_key(cell.recipe)
        shared = cell.dataset, cell.limit, cell.model, cell.protocol, key
        together[(cell.key,) if key is None else shared].append(cell)
        alone[cell.protocol] += key is None
    for protocol, count in alone.items():
        if count:
            _log.info("%d runs of protocol %s train one by one", count, protocol)
    return [group for members in together.values() for group in _divided(members, jobs, device)]


def _divided(members: list[Cell], jobs: int, device: str) -> list[list[Cell]]:
    first = members[0]
    if len(members) == 1:
        return [members]
    images, labels = data_of(first).train.partial.shape
    channels = models.create(first.model).channels
    # More processes than there are cores are those of several machines.
    sharing = min(jobs, os.cpu_count() or 1)
    most = protocols.create(first.protocol).runs_at_once(
        images, labels, channels, device=resolve_device(device), processes=sharing
    )
    fair = ceil(len(members) / jobs)
    why = "as cache and memory allow" if jobs == 1 or most <= fair else "one for each process"
    most = min(most, fair)
    # A call serves one kind of loss, a product one order of the images: a defense is divided only
    # where it must be, and shares a group only where that takes all of it.
    by_defense: dict[str, list[Cell]] = defaultdict(list)
    for cell in members:
        by_defense[cell.defense].append(cell)
    divided: list[list[Cell]] = []
    for cells in by_defense.values():
        cells.sort(key=lambda cell: (cell.seed, cell.attack))
        if divided and len(divided[-1]) + len(cells) <= most:
            divided[-1] += cells
            continue
        parts = ceil(len(cells) / most)
        ends = [round(len(cells) * part / parts) for part in range(parts + 1)]
        divided += [cells[start:stop] for start, stop in pairwise(ends)]
    what = f"{len(members)} runs of {models.short(first.model)} on {datasets.short(first.dataset)}"
    _log.info("%s train in groups of at most %d, %s: %d groups", what, most, why, len(divided))
    return divided
