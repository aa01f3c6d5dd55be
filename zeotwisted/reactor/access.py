"""What code gets that has to know whether it runs in the reactor's thread."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["ReactorAccess"]


class ReactorAccess(Protocol):
    """A reactor and its thread; see `thread`."""

    reactor: Any

    def is_current(self) -> bool:
        """Return whether the calling thread is the reactor's."""

    def is_running(self) -> bool:
        """Return whether the reactor runs."""
