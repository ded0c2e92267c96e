"""State of the installed source: its commit, and the files edited since."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from labelattack.registry.source import PACKAGE, dependencies, digest_of_files, file_of

FOLDER = file_of(PACKAGE).parent


@cache
def commit() -> str | None:
    """Commit of the checkout, with ``-dirty`` if any file of the package was changed since.

    None if git does not track the package.
    """
    if not _is_checkout():
        return None
    head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return f"{head}-dirty" if head and changed else head


@cache
def edited_files() -> frozenset[Path]:
    """Python files of the package that differ from the commit or the installed wheel.

    All of them where neither git nor the wheel's RECORD can tell.
    """
    everything = frozenset(FOLDER.rglob("*.py"))
    if _is_checkout():
        changed = _git("status", "--porcelain", "-z", "--untracked-files=all", "--", ".")
        prefix = _git("rev-parse", "--show-prefix")
        if changed is None or prefix is None:
            return everything
        # After a renamed file git lists its old name, which no longer exists.
        names = (entry[3:] if entry[2:3] == " " else entry for entry in changed.split("\0"))
        return everything & {FOLDER / name.removeprefix(prefix) for name in names}
    try:
        listed = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        return everything
    intact = {
        Path(str(file.locate())).resolve()
        for file in listed
        if file.hash is not None and file.hash.value == _digest(Path(str(file.locate())))
    }
    return frozenset(path for path in everything if path.resolve() not in intact)


@cache
def edits_behind(*modules: str) -> str:
    """Hash of the edited files that modules of this package import; empty if there are none.

    It keeps results of edited code apart from those of the committed code.

    Args:
        *modules: Dotted names of modules of this package.
    """
    edited = edited_files()
    if not edited:
        return ""
    needed: dict[str, Path] = {}
    for module in modules:
        needed |= dependencies(
            module, file_of(module), lambda name, _: name.partition(".")[0] == PACKAGE
        )
    changed = {name: path for name, path in needed.items() if path in edited}
    return digest_of_files(changed) if changed else ""


@cache
def _is_checkout() -> bool:
    """Whether git tracks the package; a virtual environment may lie in some other checkout."""
    return _git("ls-files", "--error-unmatch", "__init__.py") is not None


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(FOLDER), *arguments],
            capture_output=True, text=True, encoding="utf-8", timeout=20, check=False,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return result.stdout.rstrip("\n") if result.returncode == 0 else None


def _digest(path: Path) -> str:
    """SHA-256 of a file in the notation of a wheel's RECORD."""
    try:
        raw = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return ""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
