"""Validation of component parameters against their declared types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache, wraps
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from labelattack.errors import LabelAttackError, ParameterError, PluginError, shown, unknown
from labelattack.registry.spec import Spec

M = TypeVar("M", bound=BaseModel)


@cache
def parameters_of(cls: type[Any]) -> type[BaseModel]:
    """Pydantic model of a component's parameters; a component that is a model is returned."""
    if issubclass(cls, BaseModel):
        return cls
    # Hints of a dataclass resolve inherited fields in their own modules; those of __init__ do not.
    hints = get_type_hints(cls if is_dataclass(cls) else cls.__init__, include_extras=True)
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in inspect.signature(cls).parameters.values()
    }
    config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(cls.__name__, __config__=config, **fields)


def checked_parameters(kind: str, name: str, cls: type[Any], given: Mapping[str, Any]) -> BaseModel:
    """Validates a component's parameters and fills in defaults.

    Raises:
        ParameterError: If a parameter is unknown, of the wrong type or out of range.
    """
    model: type[BaseModel] = parameters_of(cls)  # type: ignore[arg-type]
    try:
        return model(**given)
    except ValidationError as error:
        raise _parameter_error(kind, name, error, list(model.model_fields)) from None


def check_arguments(kind: str, name: str, cls: type[Any]) -> None:
    """Makes a class's constructor validate its arguments as specs do; idempotent.

    Raises:
        PluginError: If a parameter has the name of a method, which would be its default.
    """
    construct = cls.__init__
    if construct is object.__init__ or getattr(construct, "checks", None) is cls:
        return
    for parameter in inspect.signature(construct).parameters.values():
        if inspect.isfunction(parameter.default):
            raise PluginError(
                f"parameter '{parameter.name}' of {kind} '{name}' must have another name, as a "
                "method of its base class has this one"
            )

    @wraps(construct)
    def checked(self: Any, *arguments: Any, **given: Any) -> None:
        if isinstance(self, BaseModel):  # it has its rules, only not our words for them
            try:
                construct(self, *arguments, **given)
            except ValidationError as error:
                raise _parameter_error(kind, name, error, list(cls.model_fields)) from None
            return
        if not arguments:
            values = checked_parameters(kind, name, cls, given)
            given = {key: getattr(values, key) for key in given}
        construct(self, *arguments, **given)

    checked.checks = cls  # type: ignore[attr-defined]
    cls.__init__ = checked


def settings(kind: str, spec: Spec, models: Mapping[str, type[M]]) -> M:
    """Builds the model that a spec names.

    Args:
        kind: Kind of the models, in the singular, for messages.
        spec: Name of the model and its fields.
        models: Models by name.

    Raises:
        UnknownNameError: If the name is unknown.
        ParameterError: If a field is unknown or a value breaks its rule.
    """
    if spec.name not in models:
        raise unknown(kind, spec.name, models)
    model = models[spec.name]
    try:
        return model(**dict(spec.params))
    except ValidationError as error:
        raise _parameter_error(kind, spec.name, error, list(model.model_fields)) from None


def validated(model: Callable[..., M], **values: Any) -> M:
    """Builds a model; a value that breaks its rule is an error in the package's grammar.

    Raises:
        ParameterError: If a value breaks its rule.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ParameterError(f"{first['loc'][0]} {broken_rule(first)}") from None


def _parameter_error(
    kind: str, name: str, error: ValidationError, known: list[str]
) -> LabelAttackError:
    first = error.errors()[0]
    parameter = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return ParameterError(str(unknown(f"parameter of {kind} '{name}':", parameter, known)))
    if first["type"] == "missing":
        return ParameterError(f"{kind} '{name}' needs parameter '{parameter}', got none")
    return ParameterError(f"'{parameter}' of {kind} '{name}' {broken_rule(first)}")


def broken_rule(detail: Mapping[str, Any]) -> str:
    """Formats one item of a pydantic error as ``must be ..., got ...``."""
    own, sign, text = detail["msg"].partition("Value error, ")
    if sign and not own:
        return str(text)
    rule = detail["msg"].replace("Input should be", "must be")
    if detail.get("type") != "literal_error":  # there commas part the choices
        rule = rule.partition(",")[0]
    return f"{rule}, got {shown(detail['input'])}"
