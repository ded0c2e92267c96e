"""Sets of attacks for a worst case: ``worst-of:set=standard,rate=0.4`` stands for its members."""

from __future__ import annotations

from collections.abc import Iterable

from labelattack.errors import ParameterError, unknown
from labelattack.registry.spec import Spec, as_value

WORST_OF = "worst-of"
_LABELS_ONLY = (
    "targeted",
    "class-conditional:setting=tail",
    "class-conditional:setting=head",
    "class-conditional:setting=wipe-out",
    "co-occurrence",
)
SETS: dict[str, tuple[str, ...]] = {
    "standard": (
        *_LABELS_ONLY,
        "confidence:drop=most",
        "confidence:drop=least",
        "size-biased:rate=0.4",
        "location-biased:rate=0.4",
        "greedy",
    ),
    "labels-only": _LABELS_ONLY,
}
"""Members of each set: attacks whose rate is of the known positives, and that hide all negatives.

So members of a set remove equally much and leave losses with the same kind of labels.
"""


def expanded(specs: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Attacks with the members of every set in place of it.

    Args:
        specs: Specs of attacks and of sets.

    Returns:
        Specs of attacks, each once, and those that a set brought: of these, one that a dataset has
        no knowledge for may be left out.

    Raises:
        UnknownNameError: If there is no such set or parameter.
        ParameterError: If a rate is no number from 0 to 1.
    """
    found: dict[str, None] = {}
    brought: set[str] = set()
    for text in specs:
        spec = Spec.parse(text)
        if spec.name != WORST_OF:
            found.setdefault(text)
            continue
        members = _members(spec)
        brought.update(member for member in members if member not in found)
        found |= dict.fromkeys(members)
    return tuple(found), frozenset(brought - set(specs))


def check_single(spec: str | Spec) -> None:
    """Checks that a spec names one attack.

    Args:
        spec: Spec of an attack.

    Raises:
        ParameterError: If it names a set.
    """
    if Spec.parse(spec).name == WORST_OF:
        members = ", ".join(f"'{member}'" for member in expanded([str(spec)])[0])
        raise ParameterError(f"'{WORST_OF}' is a set of attacks; give one of them: {members}")


def _members(spec: Spec) -> list[str]:
    given = dict(spec.params)
    for name in given:
        if name not in ("set", "rate"):
            raise unknown(f"parameter of '{WORST_OF}':", name, ("set", "rate"))
    chosen = str(given.get("set", "standard"))
    if chosen not in SETS:
        raise unknown("set of attacks", chosen, SETS)
    if "rate" not in given:
        return list(SETS[chosen])
    rate = as_value(given["rate"])
    if isinstance(rate, bool) or not isinstance(rate, float) or not 0 <= rate <= 1:
        raise ParameterError(
            f"'rate' of '{WORST_OF}' must be a number from 0 to 1, got '{given['rate']}'"
        )
    parsed = [Spec.parse(member) for member in SETS[chosen]]
    return [str(Spec.of(each.name, dict(each.params) | {"rate": rate})) for each in parsed]
