"""Iterators at the server that are not needed any more; it hears of them with a later call."""

from __future__ import annotations

import contextlib
from collections import deque

from zeotwisted.exceptions import ClientDisconnected

from .protocol import ClientProtocol

__all__ = ["DroppedIterators"]


class DroppedIterators:
    """The numbers of such iterators, with the connections that they belong to.

    Any thread may add one at any moment, also the garbage collector.
    """

    def __init__(self) -> None:
        self._dropped: deque[tuple[ClientProtocol, int]] = deque()

    def __len__(self) -> int:
        return len(self._dropped)

    def add(self, protocol: ClientProtocol, iid: int) -> None:
        """Note that the iterator `iid` is not needed any more."""
        self._dropped.append((protocol, iid))

    def tell(self, protocol: ClientProtocol) -> None:
        """Tell the server behind `protocol`; this leaves with the next call."""
        iids = []
        # Other threads do the same.
        with contextlib.suppress(IndexError):
            while True:
                owner, iid = self._dropped.popleft()
                # Another connection's iterators went with it.
                if owner is protocol:
                    iids.append(iid)
        if iids:
            with contextlib.suppress(ClientDisconnected):
                protocol.oneway("iterator_gc", iids, hold_back=True)
