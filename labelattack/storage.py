"""Where things computed once are kept on disk."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Folder of what is computed once: LABELATTACK_CACHE, else the platform's cache folder."""
    chosen = os.environ.get("LABELATTACK_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("labelattack")
