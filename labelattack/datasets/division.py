"""Division of a split: at random, by groups, and so that rare classes reach every part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelattack.datasets.base import Split
from labelattack.errors import DatasetError
from labelattack.seeding import permutation


def hold_out(
    split: Split,
    share: float,
    seed: int,
    name: str,
    *,
    by_group: bool = False,
    stratify: bool = False,
) -> tuple[Split, Split]:
    """Divides a split at random into a training and a validation split.

    Args:
        split: Split to divide.
        share: Share of the validation split, in [0, 1].
        seed: Seed of the draw.
        name: Name of the draw's random stream.
        by_group: Keep the images of a group together.
        stratify: Give the validation split its share of the positives of each class too, rarest
            classes first (Sechidis et al. 2011, ECML PKDD).

    Returns:
        The training split and the validation split.

    Raises:
        DatasetError: If one of them would be empty, or the split has no groups.
    """
    held = held_out(split, share, seed, name, by_group=by_group, stratify=stratify)
    count, total = int(np.count_nonzero(held)), len(held)
    if not 0 < count < total:
        raise DatasetError(
            f"a hold-out of {share:g} must leave images to train and to validate on, got {count} "
            f"of {total} images"
        )
    return split.take(np.flatnonzero(~held)), split.take(np.flatnonzero(held))


def held_out(
    split: Split, share: float, seed: int, name: str, *, by_group: bool, stratify: bool
) -> NDArray[np.bool_]:
    """Images that [hold_out][labelattack.datasets.division.hold_out] sets aside, bool ``[images]``.

    Args:
        split: As of ``hold_out``, like all others.
        share: Share that is set aside.
        seed: Seed of the draw.
        name: Name of the draw's random stream.
        by_group: Keep the images of a group together.
        stratify: Share the positives of each class too.
    """
    group = np.arange(len(split))
    if by_group:
        if split.groups is None:
            raise DatasetError("a hold-out by group must have a group for each image, got none")
        _, group = np.unique(np.array(split.groups), return_inverse=True)
    sizes = np.bincount(group)
    order = permutation(len(sizes), seed, name)
    wanted = round(len(split) * share)
    if stratify:
        chosen = _stratified(split, group, sizes, order, share, wanted)
    else:
        chosen = np.zeros(len(sizes), dtype=np.bool_)
        # The groups drawn first, up to where the number of images comes nearest to the share.
        reached = np.concatenate([[0], np.cumsum(sizes[order])])
        chosen[order[: int(np.abs(reached - wanted).argmin())]] = True
    return np.asarray(chosen[group])


def drawn(
    split: Split,
    val: float,
    test: float,
    seed: int,
    name: str,
    *,
    by_group: bool = False,
    stratify: bool = False,
) -> list[NDArray[np.int64]]:
    """Divides a split at random in three: first the images to test on, then those to validate on.

    Args:
        split: Split to divide.
        val: Share of the images to validate on.
        test: Share of the images to test on.
        seed: Seed of the draw.
        name: Name of the draw's random stream.
        by_group: As of [hold_out][labelattack.datasets.division.hold_out].
        stratify: Likewise.

    Returns:
        Rows to train, to validate and to test on, each in order; any may be empty.

    Raises:
        DatasetError: If the shares leave nothing to train on.
    """
    if val + test >= 1:
        raise DatasetError(f"val + test must be below 1, got {val + test:g}")
    count = len(split)
    if not by_group and not stratify:
        order = permutation(count, seed, name)
        last, middle, first = np.split(order, [round(count * test), round(count * (test + val))])
        return [np.sort(first), np.sort(middle), np.sort(last)]
    held = held_out(split, test, seed, name, by_group=by_group, stratify=stratify)
    rest, share = np.flatnonzero(~held), val / (1 - test)
    if not len(rest):
        return [rest, rest, np.flatnonzero(held)]
    again = held_out(
        split.take(rest), share, seed, f"{name}-val", by_group=by_group, stratify=stratify
    )
    return [rest[~again], rest[again], np.flatnonzero(held)]


def check_groups(what: str, split: Split, rows: Mapping[str, NDArray[np.int64]]) -> None:
    """Raises DatasetError if images of one group are in two parts of a split.

    Args:
        what: Source of the division, for the message.
        split: The whole, with groups.
        rows: Rows of each part, by name.
    """
    assert split.groups is not None
    first: dict[str, tuple[str, int]] = {}
    divided: dict[str, str] = {}
    for name, part in rows.items():
        for row in part.tolist():
            group = split.groups[row]
            other, one = first.setdefault(group, (name, row))
            if other != name and group not in divided:
                divided[group] = f"'{split.ids[one]}' in {other} and '{split.ids[row]}' in {name}"
    if divided:
        group, images = next(iter(divided.items()))
        raise DatasetError(
            f"{what} must keep the images of a group in one split, got {images} of group "
            f"'{group}' ({len(divided)} such groups)"
        )


def _stratified(
    split: Split,
    group: NDArray[np.int64],
    sizes: NDArray[np.int64],
    order: NDArray[np.int64],
    share: float,
    wanted: int,
) -> NDArray[np.bool_]:
    """Groups to set aside, bool ``[groups]``: of each class's positives, rarest first, a share."""
    positive = split.partial.known_values
    rows = np.repeat(np.arange(len(split)), split.partial.per_image("positives"))
    columns = split.partial.known_columns[positive]
    labels = split.partial.shape[1]
    counts = np.bincount(columns, minlength=labels)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[order] = np.arange(len(sizes))
    # Positives of each group and class, classes together and groups in the order of the draw.
    places_of = columns.astype(np.int64) * len(sizes) + rank[group[rows]]
    cells, many = np.unique(places_of, return_counts=True)
    ends = np.searchsorted(cells // len(sizes), np.arange(1, labels))
    members = np.split(np.arange(len(cells)), ends)
    of_group = order[cells % len(sizes)]
    held = np.zeros(len(sizes), dtype=np.int8)  # 1 set aside, -1 not, 0 undecided
    for column in np.argsort(counts, kind="stable"):
        places = members[column]
        have = int(many[places][held[of_group[places]] == 1].sum())
        for place in places[held[of_group[places]] == 0]:
            first = not have and len(places) > 1
            takes = first or have + many[place] / 2 <= share * counts[column]
            held[of_group[place]] = 1 if takes else -1
            have += int(many[place]) * takes
    have = int(sizes[held == 1].sum())
    for one in order[held[order] == 0]:  # groups without a positive
        takes = have + sizes[one] / 2 <= wanted
        held[one] = 1 if takes else -1
        have += int(sizes[one]) * takes
    return np.asarray(held == 1)
