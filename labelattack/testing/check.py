"""A check, how a kind lists its own, and the checks that all kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from labelattack.errors import LabelAttackError, ParameterError, PluginError
from labelattack.labels import BoolArray, PartialLabels
from labelattack.registry.registry import Registry
from labelattack.registry.spec import Spec

EXPECTED_POSITIVES = 2.0
Rule = Callable[[str], None]
"""A function of a spec that raises where the contract is broken; its name says the rule."""


@dataclass(frozen=True)
class Check:
    """A named check; calling it raises PluginError where the contract is broken."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        """Runs the check."""
        try:
            self.run()
        except LabelAttackError as error:
            raise PluginError(f"{self.name}: {error}") from error

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Kind:
    """The checks of one kind of component.

    Attributes:
        registry: Of the components.
        rules: What each of them must do.
    """

    registry: Registry[Any]
    rules: Sequence[Rule]

    def checks(self, spec: str) -> Iterator[Check]:
        """Yields the checks of a component.

        Args:
            spec: Name or spec.
        """
        for rule in self.rules:
            yield check_of(spec, rule)
        for shared in (rejects_unknown_parameters, declares_what_it_takes, resolves_to_itself):
            yield check_of(spec, partial(shared, self.registry), shared.__name__)


def check_of(spec: str, rule: Rule, name: str = "") -> Check:
    """The check of a rule, named after its function in words."""
    words = (name or getattr(rule, "__name__", "")).replace("_", " ")
    return Check(f"{spec}: {words}", partial(rule, spec))


def require(condition: bool, rule: str) -> None:
    """Raises PluginError unless a rule is kept."""
    if not condition:
        raise PluginError(rule)


def example_labels() -> BoolArray:
    """Clean labels, bool ``[40, 7]``, with rows that have no, one, several and all positives."""
    labels = np.random.Generator(np.random.PCG64(7)).random((40, 7)) < 0.3
    labels[0], labels[1], labels[2] = False, True, np.arange(7) == 3
    return labels


def example_partial_labels() -> PartialLabels:
    """The example labels with one entry in five known, one image without any."""
    known = np.random.Generator(np.random.PCG64(8)).random((40, 7)) < 0.2
    known[3] = False
    return PartialLabels(example_labels(), known)


def rejects_unknown_parameters(registry: Registry[Any], spec: str) -> None:
    """A parameter that is not declared is an error."""
    try:
        registry.create(Spec.of(Spec.parse(spec).name, {"no_such_parameter": 1}))
    except ParameterError:
        return
    raise PluginError("must reject a parameter that it does not declare")


def declares_what_it_takes(registry: Registry[Any], spec: str) -> None:
    """Parameters can be read from the source."""
    name = Spec.parse(spec).name
    (declared,) = (d for d in registry.declarations() if d.name == name)
    taken = {p.name for p in signature(registry.get(name)).parameters.values()}
    listed = {p.name for p in declared.parameters}
    require(
        taken == listed,
        f"parameters must be readable from the source: takes {taken}, declares {listed}",
    )


def resolves_to_itself(registry: Registry[Any], spec: str) -> None:
    """A resolved spec that is written and read is the same."""
    resolved = registry.resolve(spec)
    again = registry.resolve(str(resolved))
    require(again == resolved, f"spec must survive being written: {resolved}, {again}")
