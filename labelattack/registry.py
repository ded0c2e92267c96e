"""Registries of pluggable components and the specs that name them.

A registry knows its components without importing them: it reads the source of every file of its
package (and of installed plug-ins) and finds the classes decorated with ``register("name")``. So
listing costs no heavy import, a new component is one new file, and a broken plug-in fails only the
commands that name it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from functools import cache, cached_property, wraps
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import griffe
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from labelattack.content import content_digest
from labelattack.errors import LabelAttackError, ParameterError, PluginError, shown, unknown
from labelattack.installation import edits_behind
from labelattack.source import digest_of_class, file_of, is_in_file
from labelattack.storage import expanded, is_file
from labelattack.torch_defaults import torch_defaults_kept

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Spec:
    """The name of a component with its parameters, such as ``targeted:rate=0.4``.

    Attributes:
        name: Registered name.
        params: Parameters by name, sorted.
    """

    name: str
    params: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Reads ``name`` or ``name:key=value,key=value``; values stay text until resolved.

        A comma within a value is written ``%2C``.

        Raises:
            ParameterError: If the text has another form.
        """
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

    def __str__(self) -> str:
        pairs = ",".join(f"{key}={_escaped(_text(value))}" for key, value in self.params)
        return f"{self.name}:{pairs}" if pairs else self.name


@dataclass(frozen=True)
class Parameter:
    """A declared parameter: name, type and default as written, and what it means."""

    name: str
    type: str
    default: str
    doc: str


@dataclass(frozen=True)
class Declaration:
    """What a component's source says of it, read without importing it."""

    name: str
    origin: str
    summary: str
    source: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class _Index:
    """Classes found in a set of files: by registered name, and all of them by class name."""

    modules: dict[str, str] = field(default_factory=dict)
    registered: dict[str, griffe.Class] = field(default_factory=dict)
    classes: dict[str, griffe.Class] = field(default_factory=dict)

    def add_file(self, module: str, path: Path) -> None:
        for cls in griffe.visit(module, path, path.read_text(encoding="utf-8")).classes.values():
            self.classes[cls.name] = cls
            for name in filter(None, map(_registered_name, cls.decorators)):
                if name in self.modules:
                    raise PluginError(
                        f"'{name}' is registered twice: in {self.modules[name]} and {module}"
                    )
                self.modules[name] = module
                self.registered[name] = cls

    def declaration(self, name: str, origin: str) -> Declaration:
        cls = self.registered[name]
        summary = cls.docstring.value.partition("\n")[0] if cls.docstring else ""
        source, parameters = self._source(cls), tuple(self._parameters(cls).values())
        return Declaration(name, origin, summary, source, parameters)

    def _source(self, cls: griffe.Class) -> str:
        source = cls.members.get("source")
        if isinstance(source, griffe.Attribute):
            return _literal(str(source.value))
        return next(filter(None, map(self._source, self._bases(cls))), "")

    def _bases(self, cls: griffe.Class) -> list[griffe.Class]:
        names = (str(base).rpartition(".")[2].partition("[")[0] for base in cls.bases)
        return [self.classes[name] for name in names if name in self.classes]

    def _parameters(self, cls: griffe.Class) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            pairs = [
                (p.name, p.annotation, p.default)
                for p in init.parameters
                if p.kind is griffe.ParameterKind.keyword_only
            ]
        else:
            for base in self._bases(cls):
                found |= self._parameters(base)
            pairs = [
                (a.name, a.annotation, a.value)
                for a in cls.attributes.values()
                if a.annotation and "instance-attribute" in a.labels and a.is_public
            ]
        docs = _argument_docs(cls)
        for name, annotation, default in pairs:
            value = "required" if default is None else _text(_word(_literal(str(default))))
            found[name] = Parameter(name, str(annotation), value, docs.get(name, ""))
        return found


class Registry(Generic[T]):
    """Components of one kind, by name.

    Args:
        kind: What it holds, in the singular, as messages say it: ``"attack"``.
        package: Dotted name of the package whose files declare the built-in components; also the
            entry-point group in which installed plug-ins announce theirs.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[T]] = {}
        self._sources: dict[str, str] = {}
        self._declared: dict[tuple[str, type[T] | None], Declaration] = {}
        _registries.append(self)

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that makes a component known under ``name``.

        Raises:
            PluginError: If the name belongs to another class.
        """

        def add(cls: type[T]) -> type[T]:
            file = _file_behind(cls)
            if name in self._builtin.modules and self._builtin.modules[name] != cls.__module__:
                others = "as a built-in one"
            else:
                other = self._classes.get(name, cls)
                others = "" if _is_newer(cls, file, other) else f"by {_file_behind(other)}"
            if not others and _registered is not None:
                others = "in the same file" * ((self.kind, name) in _registered)
                _registered.add((self.kind, name))
            if others:
                raise PluginError(
                    f"{self.kind} '{name}' is registered already {others}, and again by {file}; "
                    "choose a new name"
                )
            _check_arguments(self.kind, name, cls)
            self._classes[name] = cls
            self._sources.pop(name, None)
            if name not in self._builtin.modules and is_in_file(cls):
                # Now, as this is the code that will run; the file may be edited later.
                self._sources[name] = digest_of_class(cls)
            return cls

        return add

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted({*self._builtin.modules, *self._classes, *self._entry_points})

    def declarations(self) -> list[Declaration]:
        """What every known component's source says of it; imports none."""
        return [self._declare(name) for name in self.names()]

    def at_hand(self, name: str) -> bool:
        """Whether using ``name`` runs no plug-in but those that were loaded by name."""
        return name in self._classes or name in self._builtin.modules

    def get(self, name: str) -> type[T]:
        """Returns the class registered as ``name``, importing its file if need be.

        Raises:
            UnknownNameError: If nothing has that name.
            PluginError: If the plug-in that declares it cannot be imported.
        """
        if name not in self._classes:
            if name in self._builtin.modules:
                importlib.import_module(self._builtin.modules[name])
            elif name in self._entry_points:
                self._load(self._entry_points[name])
            else:
                raise unknown(self.kind, name, self.names())
        return self._classes[name]

    def resolve(self, spec: str | Spec) -> Spec:
        """Checks a spec and fills in every default, so that equal components have equal specs.

        Raises:
            UnknownNameError: If the name is unknown.
            ParameterError: If a parameter is unknown, of the wrong type or out of range.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        cls: Any = self.get(spec.name)
        fields = _parameters_of(cls).model_fields
        may_be_none = {k for k, f in fields.items() if NoneType in get_args(f.annotation)}
        given = {
            key: None if value == "none" and key in may_be_none else value
            for key, value in spec.params
        }
        return Spec.of(
            spec.name, _checked(self.kind, spec.name, cls, given).model_dump(mode="json")
        )

    def create(self, spec: str | Spec) -> T:
        """Builds the component that a spec names.

        Raises:
            UnknownNameError: If the name is unknown.
            ParameterError: If a parameter is unknown, of the wrong type or out of range.
        """
        resolved = self.resolve(spec)
        return self.get(resolved.name)(**dict(resolved.params))

    def version(self, spec: str | Spec) -> str:
        """Version of a component as records keep it.

        It includes a hash of the component's code, so that an edited one is never taken for the one
        whose results are stored: of a built-in one if a file that it needs was edited since the
        commit or the installation, of any other one always. A spec's parameters that name files,
        such as weights, add a hash of their content.

        Args:
            spec: Name, or spec of which the parameters count too.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        cls = self.get(spec.name)
        if spec.name in self._builtin.modules:
            code = edits_behind(self._builtin.modules[spec.name])
        else:
            code = self._sources.get(spec.name) or digest_of_class(cls)
        return f"{getattr(cls, 'version', 1)}{code and '+'}{code}{self.content_of_files(spec)}"

    def content_of_files(self, spec: str | Spec) -> str:
        """Hashes of the files that a spec's parameters name, as the end of its version.

        Raises:
            PluginError: If one cannot be read.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        found = ""
        for key, value in spec.params:
            # A word such as ``dataset`` is none, whatever is called so in this folder.
            path = (
                expanded(value) if isinstance(value, str) and re.search(r"[./\\]", value) else None
            )
            if path is not None and is_file(path):
                try:
                    found += f"+{key}-{content_digest(path)[:12]}"
                except OSError as error:
                    raise PluginError(
                        f"{key} of {self.kind} '{spec.name}' cannot be read: {error}"
                    ) from error
        return found

    def is_builtin(self, spec: str | Spec) -> bool:
        """Whether a component is one of this package's."""
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        return spec.name in self._builtin.modules

    def short(self, text: str, *, keep: tuple[str, ...] = ("rate",)) -> str:
        """Writes a resolved spec without the parameters that have their default value.

        Args:
            text: The spec.
            keep: Parameters that are written all the same.
        """
        spec = Spec.parse(text)
        if spec.name not in self.names():
            return text
        default = {p.name: _text(_value(p.default)) for p in self._declare(spec.name).parameters}
        told = {k: v for k, v in spec.params if k in keep or _text(_value(v)) != default.get(k)}
        return str(Spec.of(spec.name, told))

    @cached_property
    def _builtin(self) -> _Index:
        index = _Index()
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).glob("*.py")):
                index.add_file(f"{self.package}.{path.stem}", path)
        return index

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.package):
            other = found.setdefault(point.name, point)
            if other.value != point.value:
                raise PluginError(
                    f"{self.kind} '{point.name}' is announced by two plug-ins: {other.value} and "
                    f"{point.value}; uninstall one"
                )
        return found

    def _load(self, point: EntryPoint) -> None:
        who = f"{self.kind} '{point.name}' from plug-in '{point.value}'"
        try:
            with torch_defaults_kept(who):
                cls = point.load()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{who} cannot be imported: {_told(error)}") from error
        _check_arguments(self.kind, point.name, cls)
        self._classes.setdefault(point.name, cls)

    def _declare(self, name: str) -> Declaration:
        # Reading a docstring takes a millisecond; a board asks thousands of times.
        key = name, self._classes.get(name)
        if key not in self._declared:
            self._declared[key] = self._read(name)
        return self._declared[key]

    def _read(self, name: str) -> Declaration:
        if name in self._builtin.modules:
            return self._builtin.declaration(name, "built-in")
        try:
            module, path, title = self._home(name)
            index = _Index(classes=dict(self._builtin.classes))
            index.add_file(module, path)
            if title not in index.classes:
                raise PluginError(f"'{path}' has no class '{title}' at its top level")
            index.registered[name] = index.classes[title]
            return index.declaration(name, "plug-in")
        except Exception as error:  # other people's files; one must not cost the list of all
            reason = f"source cannot be read: {type(error).__name__}: {error}"
            return Declaration(name, "plug-in", reason, "", ())

    def _home(self, name: str) -> tuple[str, Path, str]:
        """Module, file and class of a plug-in; what is not loaded yet stays so."""
        if name in self._classes:
            cls = self._classes[name]
            return cls.__module__, Path(inspect.getfile(cls)), cls.__name__
        point = self._entry_points[name]
        return point.module, file_of(point.module), point.attr


@cache
def _parameters_of(cls: type[Any]) -> type[BaseModel]:
    """A model whose fields are a component's parameters."""
    # A dataclass's own hints know the module of each inherited field; its __init__ does not.
    hints = get_type_hints(cls if is_dataclass(cls) else cls.__init__, include_extras=True)
    wanted: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in inspect.signature(cls).parameters.values()
    }
    config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(cls.__name__, __config__=config, **wanted)


_registries: list[Registry[Any]] = []


def components_of_main() -> list[str]:
    """Components that the main script, or a notebook, defines: ``attack 'mine'``."""
    return [
        f"{registry.kind} '{name}'"
        for registry in _registries
        for name, cls in sorted(registry._classes.items())
        if cls.__module__ == "__main__"
    ]


def _checked(kind: str, name: str, cls: type[Any], given: Mapping[str, Any]) -> BaseModel:
    """A component's parameters, those not given at their defaults.

    Raises:
        ParameterError: If one is unknown, of the wrong type or out of range.
    """
    model: type[BaseModel] = _parameters_of(cls)  # type: ignore[arg-type]
    try:
        return model(**given)
    except ValidationError as error:
        raise _parameter_error(kind, name, error, list(model.model_fields)) from None


def _check_arguments(kind: str, name: str, cls: type[Any]) -> None:
    """Gives a class's constructor the rules that specs have, once."""
    construct = cls.__init__
    if construct is object.__init__ or getattr(construct, "checks", None) is cls:
        return

    @wraps(construct)
    def checked(self: Any, *arguments: Any, **given: Any) -> None:
        if not arguments:
            values = _checked(kind, name, cls, given)
            given = {key: getattr(values, key) for key in given}
        construct(self, *arguments, **given)

    checked.checks = cls  # type: ignore[attr-defined]
    cls.__init__ = checked


def _file_behind(cls: type[Any]) -> str:
    """File that defines a class, as a message names it; in angle brackets if it is none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"'{Path(file).resolve()}'" if file and is_file(Path(file)) else f"<{cls.__module__}>"


def _is_newer(cls: type[Any], file: str, other: type[Any]) -> bool:
    """Whether a class is another one, defined anew: a cell run again, a module imported again."""
    return cls.__qualname__ == other.__qualname__ and file == _file_behind(other)


def settings(kind: str, spec: Spec, models: Mapping[str, type[M]]) -> M:
    """Builds one of several models from a spec.

    Args:
        kind: What they are, in the singular, for messages.
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


def load_plugin(path: str | Path) -> None:
    """Runs a Python file that registers components.

    Args:
        path: The file.

    Raises:
        PluginError: If the file is absent or fails; the error names line and reason.
    """
    try:
        path = Path(path).resolve()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, with a zero in it, a link to itself
        there = False
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    name = f"labelattack_plugin_{Path(path).stem}_{mark}"
    if name in sys.modules:
        return
    if not there:
        raise PluginError(f"plug-in must be a Python file, got '{path}', which is not there")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plug-in must be a Python file, got '{path}'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _loading(), torch_defaults_kept(f"plug-in '{path}'"):
            spec.loader.exec_module(module)
    except PluginError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"plug-in '{path}' failed: {_told(error)}") from error


@contextmanager
def _loading() -> Iterator[None]:
    """While it lasts, no name may be registered twice: a file that does has a slip."""
    global _registered
    before, _registered = _registered, set()
    try:
        yield
    finally:
        _registered = before


_registered: set[tuple[str, str]] | None = None


def _told(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ended the program (SystemExit: {error.code}) instead of registering something"
    return f"{type(error).__name__}: {error}"


def broken_rule(detail: Mapping[str, Any]) -> str:
    """Says one entry of a pydantic error as ``must be ..., got ...``."""
    own, sign, text = detail["msg"].partition("Value error, ")
    if sign and not own:
        return str(text)
    rule = detail["msg"].replace("Input should be", "must be").partition(",")[0]
    return f"{rule}, got {shown(detail['input'])}"


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, fit for hashing."""
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _escaped(value: str) -> str:
    return re.sub(r"%(?=2C|25)", "%25", value).replace(",", "%2C")


def _unescaped(value: str) -> str:
    return re.sub(r"%2C|%25(?=2C|25)", lambda found: "," if found[0] == "%2C" else "%", value)


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _word(text: Scalar) -> Scalar:
    """The truth value or None that a text stands for, else the text."""
    words: dict[str, Scalar] = {"true": True, "false": False, "none": None}
    return words.get(str(text).lower(), text)


def _value(text: Scalar) -> Scalar:
    """The number, truth value or None that a text stands for, else the text."""
    text = _word(text)
    try:
        return float(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _literal(text: str) -> str:
    return text[1:-1] if text[:1] in "'\"" and text[:1] == text[-1:] else text


def _registered_name(decorator: griffe.Decorator) -> str | None:
    call, _, argument = str(decorator.value).partition("(")
    return _literal(argument.rstrip(")")) if call.rpartition(".")[2] == "register" else None


def _argument_docs(cls: griffe.Class) -> dict[str, str]:
    if cls.docstring is None:
        return {}
    sections = griffe.parse_google(cls.docstring, warnings=False)
    return {
        item.name: " ".join(item.description.split())
        for section in sections
        if isinstance(section, griffe.DocstringSectionParameters)
        for item in section.value
    }
