"""Tells a full disk from other errors."""

from __future__ import annotations

import errno

__all__ = ["is_full"]


def is_full(error: object) -> bool:
    """Return whether an error says that a disk has no room, or none for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
