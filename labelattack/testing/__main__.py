"""``python -m labelattack.testing FILE.py [SPEC ...]``."""

from __future__ import annotations

import sys

from labelattack.errors import LabelAttackError
from labelattack.terminal import prepare_streams
from labelattack.testing.plugins import check_files

if __name__ == "__main__":
    prepare_streams()
    try:
        sys.exit(check_files(sys.argv[1:]))
    except LabelAttackError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
