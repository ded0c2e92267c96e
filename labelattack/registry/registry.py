"""Registries of pluggable components and the specs that name them.

A registry finds its components without importing them: it reads the source of each file of its
package (and of installed plug-ins) for classes decorated with ``register("name")``. So listing
imports nothing heavy, a new component is one new file, and a broken plug-in fails only the commands
that name it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypeVar, get_args

from labelattack.errors import PluginError, unknown
from labelattack.files.content import content_digest
from labelattack.files.storage import expanded, is_file
from labelattack.registry.index import Declaration, SourceIndex
from labelattack.registry.installation import edits_behind
from labelattack.registry.parameters import check_arguments, checked_parameters, parameters_of
from labelattack.registry.source import digest_of_class, file_of, is_in_file
from labelattack.registry.spec import Spec, as_text, as_value
from labelattack.registry.torch_defaults import torch_defaults_kept

T = TypeVar("T")


class Registry(Generic[T]):
    """Components of one kind, by name.

    Args:
        kind: Kind of component, in the singular, for messages: ``"attack"``.
        package: Dotted name of the package whose files declare the built-in components.
        group: Entry-point group of installed plug-ins.
    """

    def __init__(self, kind: str, package: str, *, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._classes: dict[str, type[T]] = {}
        self._sources: dict[str, str] = {}
        self._declared: dict[tuple[str, type[T] | None], Declaration] = {}
        _registries.append(self)

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator that registers a component under ``name``.

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
            check_arguments(self.kind, name, cls)
            self._classes[name] = cls
            self._sources.pop(name, None)
            if name not in self._builtin.modules and is_in_file(cls):
                # Hash it now: this is the code that will run, and the file may be edited later.
                self._sources[name] = digest_of_class(cls)
            return cls

        return add

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self._builtin.modules, *self._classes, *self._entry_points})

    def declarations(self) -> list[Declaration]:
        """Declarations of all known components; imports none of them."""
        return [self._declare(name) for name in self.names()]

    def at_hand(self, name: str) -> bool:
        """Whether ``name`` can be used without loading a further plug-in."""
        return name in self._classes or name in self._builtin.modules

    def is_known(self, name: str) -> bool:
        """Whether a name is known, and a plug-in that declares it can be imported."""
        if name not in self.names():
            return False
        try:
            self.get(name)
        except PluginError:
            return False
        return True

    def get(self, name: str) -> type[T]:
        """Returns the class registered as ``name``, importing its file if necessary.

        Raises:
            UnknownNameError: If no component has that name.
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

    def name_of(self, cls: type[T]) -> str:
        """Name under which a class is registered.

        Raises:
            PluginError: If it is not.
        """
        for name, other in self._classes.items():
            if other is cls:
                return name
        raise PluginError(f"{self.kind} '{cls.__name__}' must be registered, but is not")

    def text_constant(self, name: str, attribute: str) -> str:
        """Text that a component's class has as an attribute; imports nothing.

        Empty if it has none, or is of a plug-in that is not loaded.
        """
        if name in self._classes:
            return str(getattr(self._classes[name], attribute, ""))
        return self._builtin.text_constant(name, attribute)

    def resolve(self, spec: str | Spec) -> Spec:
        """Validates a spec and fills in all defaults: equal components have equal resolved specs.

        Raises:
            UnknownNameError: If the name is unknown.
            ParameterError: If a parameter is unknown, of the wrong type or out of range.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        cls: Any = self.get(spec.name)
        fields = parameters_of(cls).model_fields
        may_be_none = {k for k, f in fields.items() if NoneType in get_args(f.annotation)}
        given = {
            key: None if value == "none" and key in may_be_none else value
            for key, value in spec.params
        }
        return Spec.of(
            spec.name, checked_parameters(self.kind, spec.name, cls, given).model_dump(mode="json")
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
        """Version of a component, as records keep it.

        It keeps results of edited code apart: a plug-in's version always includes a hash of its
        code, a built-in component's only if a file that it imports was edited since the commit or
        the installation. Parameters that name files, such as weights, add a hash of their content.

        Args:
            spec: Name, or spec, whose parameters then count too.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        cls = self.get(spec.name)
        if spec.name in self._builtin.modules:
            code = edits_behind(self._builtin.modules[spec.name])
        else:
            code = self._sources.get(spec.name) or digest_of_class(cls)
        return f"{getattr(cls, 'version', 1)}{code and '+'}{code}{self.content_of_files(spec)}"

    def content_of_files(self, spec: str | Spec) -> str:
        """Hashes of the files that a spec's parameters name, as the suffix of its version.

        Raises:
            PluginError: If a file cannot be read.
        """
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        hashes = ""
        for key, value in spec.params:
            # A bare word such as ``dataset`` is not a path, even if a file here has that name.
            path = (
                expanded(value) if isinstance(value, str) and re.search(r"[./\\]", value) else None
            )
            if path is not None and is_file(path):
                try:
                    hashes += f"+{key}-{content_digest(path)[:12]}"
                except OSError as error:
                    raise PluginError(
                        f"{key} of {self.kind} '{spec.name}' cannot be read: {error}"
                    ) from error
        return hashes

    def is_builtin(self, spec: str | Spec) -> bool:
        """Whether a component belongs to this package."""
        spec = Spec.parse(spec) if isinstance(spec, str) else spec
        return spec.name in self._builtin.modules

    def short(self, text: str, *, keep: tuple[str, ...] = ("rate",)) -> str:
        """Abbreviates a resolved spec by leaving out parameters at their defaults.

        Args:
            text: The spec.
            keep: Parameters that are never left out, beside those in ``always_shown`` of the class.
        """
        spec = Spec.parse(text)
        if spec.name not in self.names():
            return text
        keep = (*keep, *self.text_constant(spec.name, "always_shown").split())
        default = {
            p.name: as_text(as_value(p.default)) for p in self._declare(spec.name).parameters
        }
        kept = {k: v for k, v in spec.params if k in keep or as_text(as_value(v)) != default.get(k)}
        return str(Spec.of(spec.name, kept))

    @cached_property
    def _builtin(self) -> SourceIndex:
        index = SourceIndex()
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).glob("*.py")):
                index.add_package_file(f"{self.package}.{path.stem}", path)
        return index

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        points: dict[str, EntryPoint] = {}
        for point in _installed(tuple(sys.path))(group=self.group):
            other = points.setdefault(point.name, point)
            if other.value != point.value:
                raise PluginError(
                    f"{self.kind} '{point.name}' is announced by two plug-ins: {other.value} and "
                    f"{point.value}; uninstall one"
                )
        return points

    def _load(self, point: EntryPoint) -> None:
        who = f"{self.kind} '{point.name}' from plug-in '{point.value}'"
        try:
            with torch_defaults_kept(who):
                cls = point.load()
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{who} cannot be imported: {import_error(error)}") from error
        check_arguments(self.kind, point.name, cls)
        self._classes.setdefault(point.name, cls)

    def _declare(self, name: str) -> Declaration:
        # Cached: reading a docstring takes a millisecond, and a board reads thousands.
        key = name, self._classes.get(name)
        if key not in self._declared:
            self._declared[key] = self._read(name)
        return self._declared[key]

    def _read(self, name: str) -> Declaration:
        if name in self._builtin.modules:
            return self._builtin.declaration(name, "built-in")
        try:
            module, path, title = self._home(name)
            index = SourceIndex(
                classes=dict(self._builtin.classes), unparsed=dict(self._builtin.unparsed)
            )
            index.add_file(module, path, path.read_text(encoding="utf-8"))
            if (cls := index.find(title)) is None:
                raise PluginError(f"'{path}' has no class '{title}' at its top level")
            index.registered[name] = cls
            return index.declaration(name, "plug-in")
        except Exception as error:  # one broken file must not break the whole list
            reason = f"source cannot be read: {type(error).__name__}: {error}"
            return Declaration(name, "plug-in", reason, "", ())

    def _home(self, name: str) -> tuple[str, Path, str]:
        """Module, file and class of a plug-in; loads nothing."""
        if name in self._classes:
            cls = self._classes[name]
            return cls.__module__, Path(inspect.getfile(cls)), cls.__name__
        point = self._entry_points[name]
        return point.module, file_of(point.module), point.attr


_registries: list[Registry[Any]] = []


def components_of_main() -> list[str]:
    """Components defined by the main script or a notebook, e.g. ``attack 'mine'``."""
    return [
        f"{registry.kind} '{name}'"
        for registry in _registries
        for name, cls in sorted(registry._classes.items())
        if cls.__module__ == "__main__"
    ]


def _file_behind(cls: type[Any]) -> str:
    """Source file of a class, for messages; in angle brackets if it has none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"'{Path(file).resolve()}'" if file and is_file(Path(file)) else f"<{cls.__module__}>"


def _is_newer(cls: type[Any], file: str, other: type[Any]) -> bool:
    """Whether a class redefines another: a notebook cell run again, a module imported again."""
    return cls.__qualname__ == other.__qualname__ and file == _file_behind(other)


@contextmanager
def loading() -> Iterator[None]:
    """Context in which registering a name twice is an error, as while a file is loaded."""
    global _registered
    before, _registered = _registered, set()
    try:
        yield
    finally:
        _registered = before


_registered: set[tuple[str, str]] | None = None


def import_error(error: BaseException) -> str:
    """Text of an exception raised by the import of a plug-in."""
    if isinstance(error, SystemExit):
        return f"it ended the program (SystemExit: {error.code}) instead of registering something"
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> Callable[..., EntryPoints]:
    """Selects among the entry points on ``sys.path``; one look at them serves every kind."""
    return entry_points().select
