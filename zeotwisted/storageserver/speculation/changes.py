"""Which objects have changed lately, for all clients of a storage."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["Changes"]

#: How many objects are remembered.
_MOST = 10_000


class Changes:
    """The objects that transactions have changed, and when. It costs the same for any number of
    clients.

    :ivar now: the number of the last transaction.
    """

    def __init__(self) -> None:
        self.now = 0
        # Everything may have changed before this.
        self._known = 0
        self._last: dict[bytes, int] = {}

    def note(self, oids: Collection[bytes]) -> None:
        """Note that a transaction has changed objects."""
        self.now += 1
        if len(self._last) + len(oids) > _MOST:
            self._last.clear()
            self._known = self.now
        if len(oids) <= _MOST:
            self._last.update(dict.fromkeys(oids, self.now))

    def is_changed(self, oid: bytes, since: int) -> bool:
        """Return whether an object may have changed since then."""
        return since < self._known or self._last.get(oid, 0) > since
