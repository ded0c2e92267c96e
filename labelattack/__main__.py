"""``python -m labelattack``."""

from labelattack.cli import main

if __name__ == "__main__":
    main()
