"""What is committed in a PostgreSQL that notifies of commits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from twisted.logger import Logger
from ZODB.utils import z64

from zeotwisted import postgresql

from .asking import Asking
from .engine import OwnCommit
from .instances import Instances
from .newsreader import Batch, LostTrack
from .owncommits import OwnCommits

__all__ = ["LIMIT", "Notified"]

#: How long (seconds) to wait for a notification before asking all the same.
_HEARTBEAT = 1.0

#: How often (seconds) to remove the marks of old transactions.
_CLEANING = 3600.0

#: How long (seconds) a statement of ours may take: a server that hangs does not answer.
LIMIT = 10.0


class Notified:
    """See `newsreader.Source`.

    A notification names a transaction and the one before it. If it follows what is known, and is
    one of our clients', whose objects are known, then it is told at once; otherwise the database is
    asked for all that is new. It is also asked after a second without notifications.

    :raises postgresql.PostgreSQLError: the database is not as it has to be.
    """

    _log = Logger()
    #: Three heartbeats.
    patience = 3 * _HEARTBEAT

    def __init__(
        self,
        dsn: str,
        instances: Instances,
        commits: OwnCommits,
        interrupt: Callable[[], object],
    ) -> None:
        self._dsn = dsn
        self._interrupt = interrupt
        self._instances = instances
        self._commits = commits
        self._listener: postgresql.Listener | Asking | None = None
        self._connection = postgresql.connect(dsn, LIMIT)
        try:
            self.database = postgresql.examine(self._connection)
            # Before it is looked what is missing: a pooler would be noticed at the first commit.
            self._listener = self._listen()
            missing = postgresql.check(self.database)
            if missing:
                raise postgresql.NotInstalled(
                    f"{missing[0]}; so other processes' commits are asked for many times a second "
                    "instead; to install it, run: zeotwisted postgresql setup"
                )
            self._last = postgresql.last_tid(self._connection, self.database)
        except BaseException:
            self.close()
            raise
        self._instances.published = self._last
        self._notices: deque[postgresql.Notice] = deque()
        self._cleaned = monotonic()
        # The highest tid that was told, also of transactions that have changed nothing.
        self._highest = self._last
        self._checked = monotonic()
        self._misses_marks = False

    def _listen(self) -> postgresql.Listener | Asking:
        if self.database.in_recovery:
            return Asking()
        listener = postgresql.Listener(self._dsn, LIMIT)
        try:
            listener.selftest()
        except BaseException:
            listener.close()
            raise
        return listener

    def wait(self) -> None:
        self._clean()
        assert self._listener is not None
        if self._notices:
            # They are left from the last call of `read`.
            return
        self._notices.extend(self._listener.wait(_HEARTBEAT))

    def _clean(self) -> None:
        if monotonic() - self._cleaned > _CLEANING and not self.database.in_recovery:
            self._cleaned = monotonic()
            postgresql.forget_old(self._connection)

    def wake(self) -> None:
        listener = self._listener
        if listener is not None:
            listener.wake()

    def read(self, is_asked: bool) -> list[Batch]:
        if self._notices and not is_asked:
            batches = self._own_in_sequence()
            # Not both: a failure of the question must not lose what is known.
            if batches or not self._notices:
                return batches
        self._notices.clear()
        return self._ask()

    def _own_in_sequence(self) -> list[Batch]:
        """Return the transactions that are known from notices, and remove those notices."""
        batches: list[Batch] = []
        while self._notices:
            previous, tid, mark = self._notices[0]
            if tid is None:
                break
            if tid > self._last:
                own = self._commits.pop(mark) if mark and previous == self._last else None
                if own is None:
                    break
                batches.append(Batch(tid, own.oids, {tid: own}))
                self._last = self._instances.published = tid
            self._notices.popleft()
        return batches

    def _ask(self) -> list[Batch]:
        # Before the question: what is finished now is in its answer.
        finished = self._commits.all_finished()
        self._check_clock(finished)
        changes = postgresql.changes(self._connection, self.database, self._last)
        if changes is None:
            self._last = postgresql.last_tid(self._connection, self.database)
            self._instances.published = self._last
            raise LostTrack("too many objects have changed", self._popped(finished))
        batches = [self._batch(change) for change in changes]
        # Without history, the last transaction's objects may be deleted, and only its mark is left.
        batches = [each for each in batches if each.own or each.tid > self._last]
        if batches:
            self._last = self._instances.published = max(self._last, batches[-1].tid)
        told = {tid for batch in batches for tid in batch.own}
        self._highest = max(self._highest, self._last, *told)
        for mark, (tid, own) in finished.items():
            # Its mark has no tid: it has changed nothing, or the trigger is not there any more.
            if self._commits.pop(mark) is not None and tid not in told:
                batches.append(Batch(tid, own.oids, {tid: own}))
                self._highest = max(self._highest, tid)
                self._warn_of_trigger(own)
        return batches

    def _check_clock(self, finished: dict[bytes, tuple[bytes, OwnCommit]]) -> None:
        """Check that what is committed from now on gets a higher tid than all that was told.

        :raises LostTrack: it may get a lower one, and some may have got it already.
        """
        if monotonic() - self._checked < _HEARTBEAT:
            return
        self._checked = monotonic()
        if postgresql.is_set_back(self._connection, self.database, self._highest):
            self._last = postgresql.last_tid(self._connection, self.database)
            self._highest = self._instances.published = self._last
            raise LostTrack(
                "the clock of the database was set back, and its last transactions are removed",
                self._popped(finished),
            )

    def _batch(self, change: postgresql.Change) -> Batch:
        own: dict[bytes, OwnCommit] = {}
        if not (change.marks and self.database.keep_history):
            # Without the trigger, nothing but its tid says that it is one of ours.
            marks = {mark for _, mark in change.marks}
            self._commits.wait_for(change.oids, marks, LIMIT)
        for tid, mark in change.marks:
            commit = self._commits.pop(mark)
            if commit is not None:
                own[tid] = commit
        for mark, (tid, commit) in self._commits.all_finished().items():
            # Without history, several transactions are one change.
            if (
                self._last < tid <= change.tid
                and tid not in own
                and self._commits.pop(mark) is not None
            ):
                own[tid] = commit
                self._warn_of_trigger(commit)
        return Batch(change.tid, change.oids, own)

    def _popped(self, finished: dict[bytes, tuple[bytes, OwnCommit]]) -> dict[bytes, OwnCommit]:
        for mark in finished:
            self._commits.pop(mark)
        return {tid: own for tid, own in finished.values()}

    def _warn_of_trigger(self, own: OwnCommit) -> None:
        if own.oids and not self._misses_marks:
            self._misses_marks = True
            self._log.critical(
                "the database does not notify of commits any more, so clients hear of others' "
                "commits up to {seconds:g} seconds late; run: zeotwisted postgresql setup",
                seconds=_HEARTBEAT,
            )

    def recover(self) -> None:
        """Connect again.

        :raises LostTrack: this is another database, or an earlier state of it.
        """
        self._instances.forget()
        with suppress(postgresql.PostgreSQLError):
            self._connection.close()
        self._connection = postgresql.connect(self._dsn, LIMIT)
        before, self.database = self.database, postgresql.examine(self._connection)
        if self.database.in_recovery and not before.in_recovery:
            self.database = before
            raise postgresql.Unreachable("the server is a standby now; nothing can be committed")
        listener, self._listener = self._listener, self._listen()
        if listener is not None:
            listener.close()
        last = postgresql.last_tid(self._connection, self.database)
        is_same = before.identity == self.database.identity
        is_same = is_same and before.timeline == self.database.timeline
        # A standby that was promoted may lack transactions that clients have been told of. So may
        # a server that crashed, if it does not wait for the disk (synchronous_commit).
        if is_same and (
            self._last == z64 or postgresql.has_tid(self._connection, self.database, self._last)
        ):
            return
        self._last = self._highest = self._instances.published = last
        raise LostTrack("this is another database now, or one that was promoted or restored", {})

    def interrupt(self) -> None:
        # Statements of our own are limited.
        self._interrupt()

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._connection.close()
