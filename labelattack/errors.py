"""One family of errors and one grammar for their messages.

Every message names the thing, what was expected and what came; where a name was mistyped it names
the nearest valid choice. The command line prints the message alone, without a traceback. Names come
from files and from other people, so a message is kept to one printable line of bounded length.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_HEAD, _TAIL = 500, 300  # the thing is named first, the hint comes last


class LabelAttackError(Exception):
    """Base class of all errors that this package raises on purpose.

    Args:
        message: Text of the error; kept as one printable line of at most about 800 characters.
    """

    def __init__(self, message: str = "") -> None:
        # Cut before, as escaping a huge text would take long, and after, as it lengthens the text.
        line = re.sub(r"\s*[\r\n]+\s*", " ", _cut(str(message)))
        super().__init__(_cut(printable(line)))


class UnknownNameError(LabelAttackError, ValueError):
    """A name that is not among the valid choices."""


class ParameterError(LabelAttackError, ValueError):
    """A parameter that is unknown, of the wrong type or out of range."""


class LabelError(LabelAttackError, ValueError):
    """Labels that are malformed: other values, other shapes, unreadable files."""


class DatasetError(LabelAttackError):
    """A dataset that is absent, incomplete or damaged."""


class ModelError(LabelAttackError):
    """A model that cannot be built, for instance because its weights are absent."""


class AttackError(LabelAttackError):
    """An attack that lacks knowledge it needs, or cannot remove as much as it is asked to."""


class DefenseError(LabelAttackError):
    """A loss with an argument or a result outside its contract."""


class PluginError(LabelAttackError):
    """A plug-in that cannot be imported or breaks its contract."""


class StoreError(LabelAttackError):
    """A result store that cannot be read or written."""


class TrainingDivergedError(LabelAttackError):
    """Training produced a loss or a score that is not finite."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Builds the error for a name that is not among the known ones.

    Args:
        kind: Kind of thing that is named, e.g. ``"attack"``.
        name: The unknown name.
        known: The valid names.

    Returns:
        The error, for the caller to raise.
    """
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(choices) or 'none'}"
    return UnknownNameError(f"unknown {kind} '{name}'; {hint}")


def printable(text: str) -> str:
    """The text with control characters and unprintable ones escaped; line breaks stay.

    Names of classes, files and components are untrusted input.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def shown(value: object) -> str:
    """``repr`` of a value for a message; its type if the value is too large."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, nesting without end
        return f"a {type(value).__name__} too large to show"


def _cut(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL + 5 else f"{text[:_HEAD]} ... {text[-_TAIL:]}"
