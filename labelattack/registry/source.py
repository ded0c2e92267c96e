"""Source code of a component: its files, and a hash of the code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
_GENERATED = frozenset(
    "__doc__ __module__ __dict__ __weakref__ __annotations__ __dataclass_fields__ __slots__ "
    "__dataclass_params__ __abstractmethods__ __match_args__ __signature__ __parameters__ "
    "__orig_bases__ __firstlineno__ __static_attributes__ __annotate__ _abc_impl".split()
)
_SIMPLE = (str, bytes, int, float, complex, bool, type(None))


def file_of(module: str) -> Path:
    """Source file of a module, located without importing it or a parent package.

    Raises:
        ModuleNotFoundError: If there is no such module.
    """
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return Path(loaded)
    top, *rest = module.split(".")
    name, spec = top, importlib.util.find_spec(top)
    for part in rest:
        name, within = f"{name}.{part}", spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(name, within) if within else None
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named '{module}'")
    return Path(spec.origin)


def dependencies(module: str, path: Path, include: Callable[[str, Path], bool]) -> dict[str, Path]:
    """Files of a module and of its imports, at any depth and anywhere in the code.

    Args:
        module: Dotted name.
        path: Its file.
        include: Whether to follow a module, given its name and file.

    Returns:
        Files by module name.
    """
    files, waiting = {module: path}, [(module, path)]
    while waiting:
        for name in _imports_of(*waiting.pop()):
            if name in files or name.partition(".")[0] in sys.stdlib_module_names:
                continue
            try:
                file = file_of(name)
            except Exception:  # not a module, or a third-party finder
                continue
            if file.suffix == ".py" and file.is_file() and include(name, file):
                files[name] = file
                waiting.append((name, file))
    return files


def digest_of_files(files: Mapping[str, Path]) -> str:
    """Hash of the names and contents of source files: 12 hex digits."""
    parts = hashlib.sha256()
    for name, path in sorted(files.items()):
        parts.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return parts.hexdigest()[:12]


def digest_of_class(cls: type[Any]) -> str:
    """Hash of the code of a class outside this package: 12 hex digits.

    For a class in a file, the hash covers that file and all files it imports, except installed
    libraries other than its own. For a class without a file (a notebook cell, standard input,
    ``exec``), it covers the compiled code of the class and of the functions and classes without a
    file that it uses, and the files of the other ones. In both cases it covers the simple values
    that the methods close over.
    """
    module = sys.modules.get(cls.__module__)
    parts = hashlib.sha256()
    if is_in_file(cls):
        own = cls.__module__.partition(".")[0]
        files = dependencies(cls.__module__, file_of(cls.__module__), _own_or_no_library(own))
        for value in list(vars(module).values()):
            files |= _files_behind(value, own)
        # The module has another name in other processes, and that of a plug-in contains its folder.
        files["."] = files.pop(cls.__module__)
        parts.update(digest_of_files(files).encode())
        functions = (value for value in vars(cls).values() if isinstance(value, FunctionType))
        for closed in (cell for function in functions for cell in _closure(function)):
            parts.update(repr(closed).encode() if isinstance(closed, _SIMPLE) else b"object")
    else:
        _Live(parts.update).add(cls)
    return parts.hexdigest()[:12]


def is_in_file(cls: type[Any]) -> bool:
    """Whether the file of a class's module defines a class of that name."""
    try:
        tree = ast.parse(file_of(cls.__module__).read_bytes())
    except Exception:  # no file, or not a source file
        return False
    return any(isinstance(n, ast.ClassDef) and n.name == cls.__name__ for n in ast.walk(tree))


def _imports_of(module: str, path: Path) -> Iterable[str]:
    """Names of the modules that a file may import, with their parent packages."""
    try:
        source = path.read_bytes()
    except OSError:
        return ()
    return _imports(source, module if path.name == "__init__.py" else module.rpartition(".")[0])


@lru_cache(maxsize=1024)
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(filter(None, [*(above if node.level else ()), node.module]))
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in filter(None, names):
            steps = name.split(".")
            found |= dict.fromkeys(".".join(steps[: n + 1]) for n in range(len(steps)))
    return tuple(found)


def _own_or_no_library(own: str) -> Callable[[str, Path], bool]:
    def include(name: str, path: Path) -> bool:
        top = name.partition(".")[0]
        return top != PACKAGE and (top == own or not _is_library(path))

    return include


@cache
def _library_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in names)


def _is_library(path: Path) -> bool:
    path = path.resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(installed) or any(path.is_relative_to(folder) for folder in _library_folders())


def _files_behind(value: Any, own: str) -> dict[str, Path]:
    """Files of the module that a value is or comes from; none for a library."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    module = value if isinstance(value, ModuleType) else sys.modules.get(str(name))
    file = getattr(module, "__file__", None)
    include = _own_or_no_library(own)
    if not isinstance(name, str) or not file or not Path(file).is_file():
        return {}
    return dependencies(name, Path(file), include) if include(name, Path(file)) else {}


def _closure(function: FunctionType) -> Iterator[Any]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        if name != "__class__":
            try:
                yield cell.cell_contents
            except ValueError:  # not assigned yet
                yield None


class _Live:
    """Feeds a hash with the compiled code behind values, each value once."""

    def __init__(self, update: Callable[[bytes], object]) -> None:
        self._update = update
        self._seen: set[int] = set()

    def add(self, value: Any) -> None:
        """Adds a value and its parts."""
        if isinstance(value, _SIMPLE):
            self._update(f"{type(value).__name__} {value!r}\n".encode())
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._update(f"{type(value).__name__}\n".encode())
        match value:
            case staticmethod() | classmethod():
                self.add(value.__func__)
            case property():
                self._all((value.fget, value.fset, value.fdel))
            case FunctionType():
                self._function(value)
            case CodeType():
                self._code(value)
            case type():
                self._class(value)
            case ModuleType():
                self._files(value)
            case tuple() | list():
                self._all(value)
            case dict():
                self._all(x for item in sorted(value.items(), key=repr) for x in item)
            case set() | frozenset():
                self._all(sorted(value, key=repr))
            case _ if hasattr(value, "__array__"):
                import numpy as np

                self._update(np.asarray(value).tobytes())
            case _:
                self._all(getattr(value, name, None) for name in ("func", "__wrapped__"))

    def _all(self, values: Any) -> None:
        for value in values:
            self.add(value)

    def _files(self, value: Any) -> bool:
        files = _files_behind(value, PACKAGE)
        self._update(digest_of_files(files).encode())
        return bool(files)

    def _class(self, cls: type[Any]) -> None:
        self._update(f"{cls.__module__}.{cls.__qualname__}\n".encode())
        if is_in_file(cls):
            self._files(cls)
            return
        self._all(cls.__bases__)
        for name, value in sorted(vars(cls).items()):
            if name not in _GENERATED:
                self._update(f"{name}\n".encode())
                self.add(value)

    def _function(self, function: FunctionType) -> None:
        if Path(function.__code__.co_filename).is_file():
            self._update(function.__qualname__.encode())
            self._files(function)
            self._all(_closure(function))
            return
        self._all((function.__code__, function.__defaults__, function.__kwdefaults__))
        self._all(_closure(function))
        names = set(_names(function.__code__))
        for name, value in sorted(function.__globals__.items()):
            if name in names and name != "__builtins__":
                self._update(f"{name}\n".encode())
                self.add(value)

    def _code(self, code: CodeType) -> None:
        self._update(code.co_code)
        self._all((code.co_names, code.co_varnames, code.co_freevars, code.co_consts))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
