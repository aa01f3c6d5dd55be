"""The exception for mistakes of users."""

from __future__ import annotations

__all__ = ["CommandError"]


class CommandError(Exception):
    """A command cannot do what is asked; the text is one line with the reason and the remedy."""
