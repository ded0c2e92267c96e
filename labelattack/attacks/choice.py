"""The attack that a spec names, or that is given as such."""

from __future__ import annotations

from typing import Any

from labelattack.attacks import registry
from labelattack.attacks.base import Attack
from labelattack.attacks.sets import check_single
from labelattack.errors import ParameterError, shown
from labelattack.registry.spec import Spec


def chosen_attack(attack: str | Spec | Attack, /, **params: Any) -> Attack:
    """Builds an attack of a spec; one that is built already is returned.

    Args:
        attack: Name, spec or attack.
        **params: Parameters beside those of the spec.

    Raises:
        UnknownNameError: If the name is unknown.
        ParameterError: If it is anything else, a set of attacks, or a parameter is unknown, out of
            range or given twice.
    """
    if isinstance(attack, Attack):
        if params:
            raise ParameterError(
                f"parameters must be left out for an attack that is built already, got "
                f"'{next(iter(params))}' beside {attack}"
            )
        return attack
    if not isinstance(attack, str | Spec):
        raise ParameterError(
            "attack must be a spec such as 'targeted:rate=0.4' or an Attack, got " + shown(attack)
        )
    check_single(attack)
    return registry.create(attack, **params)
