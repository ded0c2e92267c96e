"""Specs: a component's name and parameters as text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelattack.errors import ParameterError, shown

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Spec:
    """Name and parameters of a component, such as ``targeted:rate=0.4``.

    Attributes:
        name: Registered name.
        params: Parameters by name, sorted.
    """

    name: str
    params: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def parse(cls, text: str | Spec) -> Spec:
        """Parses ``name`` or ``name:key=value,key=value``; values stay text until resolved.

        A comma within a value is written ``%2C``.

        Args:
            text: The text; a spec is returned as it is.

        Raises:
            ParameterError: If the text has another form.
        """
        if isinstance(text, Spec):
            return text
        if not isinstance(text, str):
            raise ParameterError(
                f"spec must be text such as name:key=value,key=value, got {shown(text)}"
            )
        name, _, rest = text.partition(":")
        pairs = [item.partition("=") for item in rest.split(",")] if rest else []
        if not name or any(not key or not sign for key, sign, _ in pairs):
            raise ParameterError(f"spec must look like name:key=value,key=value, got '{text}'")
        if len({key for key, _, _ in pairs}) < len(pairs):
            raise ParameterError(f"spec must give each parameter once, got '{text}'")
        return cls.of(name, {key: _unescaped(value) for key, _, value in pairs})

    @classmethod
    def of(cls, name: str, params: Mapping[str, Scalar]) -> Spec:
        """Builds a spec from a mapping."""
        return cls(name, tuple(sorted(params.items())))

    def extended(self, params: Mapping[str, Any]) -> Spec:
        """The spec with further parameters; the path of one is written as text.

        Raises:
            ParameterError: If the spec gives one of them already.
        """
        own = dict(self.params)
        for key in params:
            if key in own:
                raise ParameterError(
                    f"'{key}' must be given once, got it in the spec '{self}' and beside it"
                )
        texts = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in params.items()}
        return Spec.of(self.name, own | texts)

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={_escaped(as_text(value))}" for key, value in self.params)
        return f"{self.name}:{pairs}" if pairs else self.name


def _escaped(value: str) -> str:
    return re.sub(r"%(?=2C|25)", "%25", value).replace(",", "%2C")


def _unescaped(value: str) -> str:
    return re.sub(r"%2C|%25(?=2C|25)", lambda match: "," if match[0] == "%2C" else "%", value)


def as_text(value: Scalar) -> str:
    """Text of a value in a spec."""
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def as_word(text: Scalar) -> Scalar:
    """Parses a boolean or None; any other text is returned unchanged."""
    words: dict[str, Scalar] = {"true": True, "false": False, "none": None}
    return words.get(str(text).lower(), text)


def as_value(text: Scalar) -> Scalar:
    """Parses a number, a boolean or None; any other text is returned unchanged."""
    text = as_word(text)
    try:
        return float(text) if isinstance(text, str) else text
    except ValueError:
        return text


def unquoted(text: str) -> str:
    """A Python string literal without its quotes; any other text unchanged."""
    return text[1:-1] if text[:1] in "'\"" and text[:1] == text[-1:] else text
