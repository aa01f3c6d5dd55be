"""What a served storage asks of the standby that writes it."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred

from ..figures import StandbyReport

__all__ = ["StandbyControl"]


class StandbyControl(Protocol):
    """Follows a primary, and writes what it has into the storage."""

    def report(self) -> StandbyReport:
        """Return the state, for monitoring."""

    def promote(self) -> Deferred[dict[str, Any]]:
        """Stop to follow, and make the storage a primary; return what is to be told of it."""
