"""``python -m zeotwisted``: the same as the command ``zeotwisted``."""

from __future__ import annotations

import sys

from zeotwisted.commands import main

if __name__ == "__main__":
    sys.exit(main())
