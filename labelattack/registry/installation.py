"""State of this package's source: the commit it is of, and which files were edited since."""

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

    None if the package does not lie in a checkout of its own.
    """
    if not _is_checkout():
        return None
    head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    return f"{head}-dirty" if head and changed else head


@cache
def edited_files() -> frozenset[Path]:
    """Python files of the package that are not as they were committed or installed.

    All of them where that cannot be told, as then nothing says that they are not.
    """
    everything = frozenset(FOLDER.rglob("*.py"))
    if _is_checkout():
        changed = _git("status", "--porcelain", "-z", "--untracked-files=all", "--", ".")
        prefix = _git("rev-parse", "--show-prefix")
        if changed is None or prefix is None:
            return everything
        # Behind a renamed file its old name stands alone, which is no file any more.
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
def edits_behind(module: str) -> str:
    """Hash of the edited files that a module of this package needs; empty if there are none.

    Results that the module computed must not meet those of its committed self.

    Args:
        module: Dotted name of a module of this package.
    """
    edited = edited_files()
    if not edited:
        return ""
    needed = dependencies(
        module, file_of(module), lambda name, _: name.partition(".")[0] == PACKAGE
    )
    found = {name: path for name, path in needed.items() if path in edited}
    return digest_of_files(found) if found else ""


@cache
def _is_checkout() -> bool:
    """Whether git tracks the package; a virtual environment may lie in another's checkout."""
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
    """SHA-256 as the RECORD of a wheel writes it."""
    try:
        raw = hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return ""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
