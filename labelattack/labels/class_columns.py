"""Classes that a parameter of a component names."""

from __future__ import annotations

from labelattack.errors import unknown
from labelattack.labels.partial import PartialLabels


def columns_of(names: str, labels: PartialLabels, who: str) -> list[int]:
    """Columns of classes.

    Args:
        names: Names or column numbers from 0, joined by ``+``; a name goes before a number.
        labels: Labels whose classes they are.
        who: Component that asks, for messages: ``attack 'disappear'``.

    Returns:
        Each column once, in the order given.

    Raises:
        UnknownNameError: If there is no such class.
    """
    numbers = {str(column): column for column in range(labels.shape[1])}
    at = numbers | {name: column for column, name in enumerate(labels.classes or ())}
    found = [name.strip() for name in names.split("+")]
    for name in found:
        if name not in at:
            raise unknown(f"class of {who}", name, labels.classes or numbers)
    return list(dict.fromkeys(at[name] for name in found))
