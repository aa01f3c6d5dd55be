"""Iterators at the server that are not needed any more. A later call tells the server."""

from __future__ import annotations

import contextlib
from collections import deque

from zeotwisted.exceptions import ClientDisconnected

from .protocol import ClientProtocol

__all__ = ["DroppedIterators"]


class DroppedIterators:
    """The ids of such iterators, and their connections.

    Any thread may add one at any time, also the garbage collector: so there is no lock.
    """

    def __init__(self) -> None:
        self._dropped: deque[tuple[ClientProtocol, int]] = deque()

    def __len__(self) -> int:
        return len(self._dropped)

    def add(self, protocol: ClientProtocol, iid: int) -> None:
        """Note that the iterator `iid` is not needed any more."""
        self._dropped.append((protocol, iid))

    def tell(self, protocol: ClientProtocol) -> None:
        """Queue a message that frees the iterators of `protocol`. It leaves with the next call."""
        iids = []
        # IndexError: the queue is empty; another thread may have taken the last one.
        with contextlib.suppress(IndexError):
            while True:
                owner, iid = self._dropped.popleft()
                # The server has freed the iterators of connections that ended.
                if owner is protocol:
                    iids.append(iid)
        if iids:
            with contextlib.suppress(ClientDisconnected):
                protocol.oneway("iterator_gc", iids, hold_back=True)
