"""Search over hyper-parameters and parameters of losses, with as many trials for each defense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import ceil
from typing import Annotated, Any

from pydantic import Field, model_validator

from labelattack.defenses import registry as defenses
from labelattack.errors import ParameterError, shown
from labelattack.registry.spec import Spec, as_value
from labelattack.seeding import permutation
from labelattack.training.recipe import SEARCHED, Recipe, SearchSpace, Setting

Settings = tuple[tuple[str, Setting], ...]


class Search(SearchSpace):
    """What is searched, and with how many trials.

    Fields of [SearchSpace][labelattack.training.recipe.SearchSpace] hold for every defense.

    Attributes:
        search: Values of parameters of losses, by ``defense.parameter``; as a mapping, or as texts
            ``defense.parameter=value,value``. A hyper-parameter may stand here by its name, too.
        trials: Trials of each defense; None for as many as the one with the fewest settings has.
    """

    search: dict[str, tuple[Setting, ...]] = Field(default={}, exclude_if=lambda of: not of)
    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, exclude_if=lambda count: count is None
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        """Checks what is searched, and moves hyper-parameters of training to their fields."""
        if not isinstance(given, Mapping) or not given.get("search"):
            return given
        found = {key: value for key, value in given.items() if key != "search"}
        own = _flat(given["search"])
        for name in [name for name in own if name in SEARCHED]:
            if found.get(f"{name}s"):
                raise ValueError(f"search.{name} and {name}s must not both be given")
            found[f"{name}s"] = own.pop(name)
        return found | {"search": {key: _checked(key, values) for key, values in own.items()}}

    def settings_of(self, defense: str) -> list[Settings]:
        """Every combination of the searched parameters of a defense, by its name."""
        own = {
            key.partition(".")[2]: values
            for key, values in self.search.items()
            if key.partition(".")[0] == defense
        }
        return [tuple(zip(own, values, strict=True)) for values in product(*own.values())]

    def check_open(self, defense: Spec) -> None:
        """Checks that a defense leaves to the search what is searched; its row would say otherwise.

        Args:
            defense: Resolved spec.

        Raises:
            ParameterError: If it gives a searched parameter a value other than the default.
        """
        given = dict(Spec.parse(defenses.short(str(defense), keep=())).params)
        for key in self.search:
            name, _, parameter = key.partition(".")
            if name == defense.name and parameter in given:
                raise ParameterError(
                    f"search of '{key}' must not meet a defense that gives its value, got "
                    f"'{name}:{parameter}={given[parameter]}'; leave out one of them"
                )

    def trials_of(self, names: Iterable[str], recipes: Sequence[Recipe]) -> dict[str, list[Recipe]]:
        """Recipes of each defense, as many for each.

        Args:
            names: Names of all defenses that are compared.
            recipes: Recipes that all have in common.

        Raises:
            ParameterError: If a defense has fewer settings than there are to be trials.
        """
        own = {name: self.settings_of(name) for name in names}
        most = {name: len(recipes) * len(of) for name, of in own.items()}
        count = min(most.values()) if self.trials is None else self.trials
        for name, number in most.items():
            if number < count:
                raise ParameterError(
                    f"trials must be at most {number}, the number of settings of defense '{name}', "
                    f"got {count}; give more values of lr, or of a parameter of its own"
                )
        return {name: _balanced(name, recipes, of, count) for name, of in own.items()}


def _flat(search: Any) -> dict[str, Any]:
    """Values by ``defense.parameter``, also where TOML has read that as a table in a table."""
    if isinstance(search, Sequence) and not isinstance(search, str):
        search = _parsed(search)
    if not isinstance(search, Mapping):
        raise ValueError(f"search must be a table of lists, got {shown(search)}")
    found: dict[str, Any] = {}
    for key, value in search.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        found |= {f"{key}.{name}" if name else key: values for name, values in inner}
    return found


def _checked(key: str, values: Any) -> tuple[Any, ...]:
    """Values of a parameter of a defense, as the parameter has them."""
    defense, _, parameter = key.partition(".")
    if not parameter:
        raise ValueError(
            f"search must name DEFENSE.PARAMETER or one of {', '.join(SEARCHED)}, got '{key}'"
        )
    if parameter in SEARCHED:
        raise ValueError(f"search of '{key}' has the name of a hyper-parameter of training")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"search of '{key}' must be a list of values, got {shown(values)}")
    specs = (Spec.of(defense, {parameter: value}) for value in values)
    return tuple(dict(defenses.resolve(spec).params)[parameter] for spec in specs)


def _parsed(texts: Sequence[Any]) -> dict[str, list[Any]]:
    """Texts such as ``large-loss.delta=0.002,0.004`` as a mapping."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, sign, values = str(text).partition("=")
        if not sign or not key or not values:
            raise ValueError(
                f"search must look like defense.parameter=value,value, got {shown(text)}"
            )
        if key in found:
            raise ValueError(f"search must give each parameter once, got '{key}' twice")
        found[key] = [as_value(value) for value in values.split(",")]
    return found


def _balanced(
    name: str, recipes: Sequence[Recipe], own: Sequence[Settings], count: int
) -> list[Recipe]:
    """Trials of a defense: every recipe in turn, each with settings that change from turn to turn.

    Which settings a recipe begins with is drawn at random, each as often as any other. A turn that
    is not whole takes recipes at equal distances.
    """
    first = permutation(len(recipes), 0, "trials", name) % len(own)
    found = []
    for turn in range(ceil(count / len(recipes))):
        size = min(len(recipes), count - turn * len(recipes))
        for place in (number * len(recipes) // size for number in range(size)):
            settings = own[(int(first[place]) + turn) % len(own)]
            found.append(recipes[place].model_copy(update={"loss": tuple(sorted(settings))}))
    return found
