"""Name that a dataset's parameters give it, shown instead of the paths of one machine."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from labelattack.errors import shown

_LONGEST = 40


def _checked(text: str) -> str:
    """Checks a name: it stands where specs stand on boards, and is part of file names."""
    from labelattack.datasets import registry

    if len(text) > _LONGEST or not text.isprintable() or set("/\\|:") & set(text):
        raise ValueError(
            f"must have at most {_LONGEST} printable characters, none of them /, \\, | or :, got "
            f"{shown(text)}"
        )
    if text in registry.names():
        raise ValueError(f"must not be that of a registered dataset, got '{text}'")
    return text


DatasetName = Annotated[str, AfterValidator(_checked)]
"""A name of at most 40 printable characters; empty for none."""
