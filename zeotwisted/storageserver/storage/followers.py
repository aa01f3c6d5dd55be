"""The standbys that follow a storage, and the commits that wait for one of them.

With `ServerOptions.synchronous_standby`, a commit is answered when a standby has written it. If no
standby does so in time, or none is connected, commits are answered all the same: the storage stays
available, and the log says from when on a commit may be lost with this machine. They wait again as
soon as a standby has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zeotwisted.protocol import Broadcast

from ..figures import FollowersReport
from .listener import Listener

__all__ = ["Followers"]


class Followers:
    """The standbys of one storage. Use it in the reactor's thread.

    :param patience: how long (seconds) a commit waits for a standby; 0: commits never wait.
    :param last: returns the last published transaction.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, storage_id: str, patience: float, last: Callable[[], bytes]
    ) -> None:
        self._clock = clock
        self._storage_id = storage_id
        self._patience = patience
        self._last = last
        # What each standby has.
        self._has: dict[Listener, bytes] = {}
        self._is_synchronous = False
        # The commit that waits. There is one at a time, as it holds the commit lock.
        self._waiting: tuple[bytes, Deferred[None], IDelayedCall] | None = None
        # The transaction that some standbys were told of before all others, and who was told.
        self._told = b""
        self._told_to: set[Listener] = set()

    @property
    def waits(self) -> bool:
        """Whether commits are to wait for a standby, if there is one."""
        return bool(self._patience)

    def report(self) -> FollowersReport:
        """Return the state, for monitoring."""
        return FollowersReport(len(self._has), self.waits, self._is_synchronous)

    def last_shown(self) -> bytes | None:
        """Return the last transaction that clients may see; None: they may see all.

        What waits for a standby may be lost with this machine: nobody is to act on it. That holds
        for the standbys, too, which read the log.
        """
        return self._last() if self._is_synchronous else None

    def acknowledged(self, listener: Listener, tid: bytes) -> None:
        """A standby has everything up to `tid`, on its disk.

        :raises ValueError: there is no such transaction yet.
        """
        newest = self._last() if self._waiting is None else max(self._last(), self._waiting[0])
        if tid > newest:
            raise ValueError(f"storage {self._storage_id!r} has no transaction {tid.hex()} yet")
        self._has[listener] = tid
        if self.waits and not self._is_synchronous and tid >= self._last():
            self._is_synchronous = True
            self._log.info(
                "({label}) the standby of storage {id!r} has everything; commits wait for it from "
                "now on",
                label=listener.label,
                id=self._storage_id,
            )
        if self._waiting is not None and tid >= self._waiting[0]:
            self._go_on()

    def left(self, listener: Listener) -> None:
        """A client is gone."""
        self._told_to.discard(listener)
        if self._has.pop(listener, None) is not None and not self._has:
            self._give_up("the standby is gone")

    def was_told(self, listener: Listener, tid: bytes) -> bool:
        """Return whether a client was told of a transaction by `replicated`."""
        return tid == self._told and listener in self._told_to

    def replicated(self, tid: bytes, oids: Sequence[bytes]) -> Deferred[None] | None:
        """Tell the standbys of a transaction that is in the storage, and not published yet.

        Return a Deferred that fires when one of them has it, or when nothing is to be waited for
        any more. None if there is nothing to wait for.
        """
        if not self._is_synchronous:
            return None
        self._told, self._told_to = tid, set(self._has)
        news = Broadcast("invalidateTransaction", tid, oids)
        for listener in self._told_to:
            listener.tell(news)
            listener.send()
        if not self._is_synchronous:
            # The connection has ended meanwhile.
            return None
        done: Deferred[None] = Deferred()
        late = self._clock.callLater(
            self._patience,
            self._give_up,
            f"it has not written transaction {tid.hex()} within {self._patience:g} seconds",
        )
        self._waiting = tid, done, late
        return done

    def _give_up(self, reason: str) -> None:
        if self._is_synchronous:
            self._is_synchronous = False
            self._log.critical(
                "commits to storage {id!r} do not wait for a standby any more, because {reason} "
                "(synchronous-standby); if this machine is lost now, the transactions after "
                "{last} may be lost with it",
                id=self._storage_id,
                reason=reason,
                last=self._last().hex(),
            )
        self._go_on()

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            _, done, late = waiting
            if late.active():
                late.cancel()
            done.callback(None)
