"""Files of side tables, matched to images and classes by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import LabelError, shown, unknown
from labelattack.files.label_files import read_label_array
from labelattack.files.names import as_text, canonical, repeated
from labelattack.files.records import Records, open_records
from labelattack.labels.files import order_of
from labelattack.labels.numbering import Offences

_TABLES = (".csv", ".tsv", ".parquet")
_RULE = "values must be numbers from 0 to 1"


def read_scores(path: Path, ids: Sequence[str], classes: Sequence[str]) -> NDArray[np.float32]:
    """Reads the scores of a model for each image and class.

    Args:
        path: ``.csv``, ``.tsv`` or ``.parquet`` whose first column names the image and whose other
            columns are classes, or ``.npz`` with ``scores``, ``image_id`` and ``classes``.
        ids: Images that are wanted; the file may have more.
        classes: Its classes, in any order.

    Returns:
        Float32 ``[images, labels]``, in the order of ``ids`` and ``classes``.

    Raises:
        LabelError: If the file cannot be read, lacks an image or a class, has another class, names
            one twice, or a value is no number from 0 to 1; names the place.
    """
    with _reading("scores", path, (*_TABLES, ".npz")):
        read = _read_npz if path.suffix.lower() == ".npz" else _read_table
        table = read(path)
        columns = _ordered("class", table.classes, classes, table.column)
        rows = _ordered("image", table.ids, ids, table.row, more=True)
        return table.scores[np.ix_(rows, columns)]


def read_priors(path: Path, classes: Sequence[str]) -> NDArray[np.float64]:
    """Reads the share of images that have each class.

    Args:
        path: Table with columns ``class`` and ``prior``.
        classes: Its classes, in any order.

    Returns:
        Float64 ``[labels]``, in the order of ``classes``.

    Raises:
        LabelError: As of ``read_scores``.
    """
    return _per_class(path, "prior", classes)


def read_weights(path: Path, classes: Sequence[str]) -> NDArray[np.float64]:
    """Reads a weight of each class, from 0 to 1.

    Args:
        path: Table with columns ``class`` and ``weight``.
        classes: Its classes, in any order.

    Returns:
        Float64 ``[labels]``, in the order of ``classes``.

    Raises:
        LabelError: As of ``read_scores``.
    """
    return _per_class(path, "weight", classes)


def _per_class(path: Path, column: str, classes: Sequence[str]) -> NDArray[np.float64]:
    with _reading(f"{column}s", path, _TABLES):
        records, names, cells = _pairs(path, "class", column)
        offences = Offences(_RULE)
        values = _shares(cells, column, records.place_of, offences)
        offences.check()
        return values[_ordered("class", names, classes, records.place_of)]


def read_groups(path: Path, ids: Sequence[str]) -> tuple[str, ...]:
    """Reads the group of each image.

    Args:
        path: Table with columns ``id`` and ``group``.
        ids: Images that are wanted; the file may have more.

    Returns:
        Group of each image, in the order of ``ids``.

    Raises:
        LabelError: If the file cannot be read, lacks an image, names one twice, or names no group.
    """
    with _reading("groups", path, _TABLES):
        records, names, cells = _pairs(path, "id", "group")
        groups = _texts(cells)
        if "" in groups:
            place = records.place_of(groups.index(""))
            raise LabelError(f"every image must have a group, got none at {place}")
        rows = _ordered("image", names, ids, records.place_of, more=True)
        return tuple(groups[row] for row in rows)


def read_parents(path: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    """Reads which class each class implies.

    Args:
        path: Table with columns ``child`` and ``parent``; a class that is no child, or whose
            parent is empty, implies none.
        classes: All classes.

    Returns:
        Int64 ``[labels]``: position of the parent in ``classes``, -1 for none.

    Raises:
        LabelError: If the file cannot be read, names another class, names a child twice, or a
            class implies itself by way of others.
    """
    with _reading("parents", path, _TABLES):
        records, children, cells = _pairs(path, "child", "parent")
        parents = _texts(cells)
        if twice := repeated("a child", children, records.place_of):
            raise LabelError(twice)
        at = {canonical(name): number for number, name in enumerate(classes)}
        found = np.full(len(classes), -1, dtype=np.int64)
        for row, (child, parent) in enumerate(zip(children, parents, strict=True)):
            for name in filter(None, (child, parent)):
                if canonical(name) not in at:
                    raise LabelError(f"{records.place_of(row)}: {unknown('class', name, classes)}")
            if parent:
                found[at[canonical(child)]] = at[canonical(parent)]
        _check_no_cycle(found, classes)
        return found


class _Table(NamedTuple):
    """Scores, names, and functions that name the place of a row and of a column."""

    scores: NDArray[np.float32]
    ids: list[str]
    classes: list[str]
    row: Callable[[int], str]
    column: Callable[[int], str]


def _read_table(path: Path) -> _Table:
    records = open_records(path)
    records.check_names(first=True)
    ids: list[str] = []
    parts: list[NDArray[np.float32]] = []
    offences = Offences(_RULE)
    classes = records.names[1:]
    for places, (names, *columns) in records.chunks(records.names):
        ids += _texts(names)
        part = np.empty((len(places), len(classes)), dtype=np.float32)

        def place(row: int, places: Sequence[int] = places) -> str:
            return records.place(places[row])

        for column, (name, cells) in enumerate(zip(classes, columns, strict=True)):
            part[:, column] = _shares(cells, name, place, offences)
        parts.append(part)
    offences.check()
    scores = np.concatenate(parts) if parts else np.empty((0, len(classes)), np.float32)
    return _Table(scores, ids, classes, records.place_of, "column {}".format)


def _read_npz(path: Path) -> _Table:
    scores, ids, classes, _ = read_label_array(path, "scores")
    if ids is None or classes is None:
        lacking = "image_id" if ids is None else "classes"
        raise LabelError(f"it must name its rows and columns, got no array '{lacking}'")
    if scores.shape != (len(ids), len(classes)) or scores.dtype.kind not in "fiub":
        raise LabelError(
            f"its scores must be numbers for {len(ids)} images and {len(classes)} classes, got "
            f"{scores.dtype} {scores.shape}"
        )
    offences = Offences(_RULE)
    for row, column in np.argwhere(~((scores >= 0) & (scores <= 1))).tolist():
        value = shown(scores[row, column].item())
        offences.add(f"{value} at row {row}, column '{classes[column]}'")
    offences.check()
    return _Table(scores.astype(np.float32), ids, classes, "row {}".format, "column {}".format)


def _shares(
    cells: Sequence[Any], column: str, place: Callable[[int], str], offences: Offences
) -> NDArray[np.float64]:
    """Numbers from 0 to 1 in cells; others are counted as offences."""
    values = np.array([_number(cell) for cell in cells], dtype=np.float64)
    for row in np.flatnonzero(~((values >= 0) & (values <= 1))).tolist():
        cell = cells[row]
        got = f"'{cell}'" if isinstance(cell, str) else shown(cell)
        offences.add(f"{got} at {place(row)}, column '{column}'")
    return values


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _pairs(path: Path, key: str, value: str) -> tuple[Records, list[str], list[Any]]:
    """Cells of two named columns, the first of them names."""
    records = open_records(path)
    names: list[str] = []
    values: list[Any] = []
    wanted = [records.check_there(column) for column in (key, value)]
    for _, (some, beside) in records.chunks(wanted):
        names += _texts(some)
        values += beside
    if "" in names:
        place = records.place_of(names.index(""))
        raise LabelError(f"column '{key}' must hold a name, got none at {place}")
    return records, names, values


def _texts(cells: Sequence[Any]) -> list[str]:
    return ["" if cell is None else as_text(cell) for cell in cells]


def _ordered(
    what: str,
    names: Sequence[str],
    wanted: Sequence[str],
    place: Callable[[int], str],
    *,
    more: bool = False,
) -> list[int]:
    """Position of each wanted name among others, which may be more only if that is said."""
    article = {"image": "an image", "class": "a class"}[what]
    if twice := repeated(article, names, place):
        raise LabelError(twice)
    keys = set(map(canonical, wanted))
    kept = [n for n, name in enumerate(names) if not more or canonical(name) in keys]
    try:
        order = order_of(what, [names[n] for n in kept], wanted)
    except LabelError as error:
        raise LabelError(f"it {error}") from error
    return [kept[n] for n in order]


def _check_no_cycle(parents: NDArray[np.int64], classes: Sequence[str]) -> None:
    for start in range(len(classes)):
        path, now = [start], int(parents[start])
        while now >= 0 and now not in path:
            path.append(now)
            now = int(parents[now])
        if now >= 0:
            loop = [*path[path.index(now) :], now]
            names = " -> ".join(f"'{classes[number]}'" for number in loop)
            raise LabelError(f"no class may imply itself, got {names}")


@contextmanager
def _reading(kind: str, path: Path, suffixes: Sequence[str]) -> Iterator[None]:
    """Names the file in errors."""
    if path.suffix.lower() not in suffixes:
        raise LabelError(f"file of {kind} must end in {', '.join(suffixes)}, got '{path}'")
    try:
        yield
    except LabelError as error:
        raise LabelError(f"file of {kind} '{path}': {error}") from error
    except FileNotFoundError as error:
        raise LabelError(f"file of {kind} '{path}' is not there") from error
    except Exception as error:  # readers of archives raise nearly anything on a damaged one
        raise LabelError(f"file of {kind} '{path}' cannot be read: {error}") from error
