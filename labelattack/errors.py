"""One family of errors and one grammar for their messages.

Every message names the thing, what was expected and what came; where a name was mistyped it names
the nearest valid choice. The command line prints the message alone, without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class LabelAttackError(Exception):
    """Root of everything this package raises on purpose."""


class UnknownNameError(LabelAttackError):
    """A name that is not among the valid choices."""


class ParameterError(LabelAttackError):
    """A parameter that is unknown, of the wrong type or out of range."""


class LabelError(LabelAttackError):
    """Labels that are malformed: other values, other shapes, unreadable files."""


class DatasetError(LabelAttackError):
    """A dataset that is absent, incomplete or damaged."""


class ModelError(LabelAttackError):
    """A model that cannot be built, for instance because its weights are absent."""


class DefenseError(LabelAttackError):
    """A loss that was given, or gave back, something outside its contract."""


class PluginError(LabelAttackError):
    """A plug-in that cannot be imported or does not keep to the contract."""


class StoreError(LabelAttackError):
    """A result store that cannot be read or written."""


class TrainingDivergedError(LabelAttackError):
    """Training produced a loss or a score that is not finite."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Builds the error for a name that is not among the known ones.

    Args:
        kind: What the name stands for, e.g. ``"attack"``.
        name: What was given.
        known: The valid names.

    Returns:
        The error, for the caller to raise.
    """
    choices = sorted(known)
    near = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(choices) or 'none'}"
    return UnknownNameError(f"unknown {kind} '{name}'; {hint}")
