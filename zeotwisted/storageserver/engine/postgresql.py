"""Serves RelStorage on PostgreSQL: commits of other processes are pushed by the database.

What `zeotwisted postgresql setup` has installed sends a notification with each commit. A
notification only wakes the `newsreader`, which then asks the database for all that is new; it also
asks every second, as notifications may be lost. Records are loaded in the reactor's thread, without
RelStorage. Transactions of different clients vote at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from time import monotonic
from typing import Any

from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import StorageError
from ZODB.utils import z64

from zeotwisted import postgresql

from .asking import Asking
from .engine import News, OwnCommit
from .failures import DatabaseFailed
from .housekeeping import Housekeeping
from .instances import Instances
from .newsreader import Batch, LostTrack, NewsReader
from .owncommits import OwnCommits
from .sharedstorage import SharedStorage

__all__ = ["PostgreSQL"]

#: How long (seconds) to wait for a notification before asking all the same.
_HEARTBEAT = 1.0

#: How often (seconds) to remove the marks of old transactions.
_CLEANING = 3600.0

#: How long (seconds) to wait for a transaction whose outcome is asked for.
_PATIENCE = 30.0

#: How long (seconds) a statement of ours may take: a server that hangs does not answer.
_LIMIT = 10.0


class PostgreSQL:
    """See `engine.Engine`.

    :param storage_id: its name for messages.
    :param storage: a RelStorage on PostgreSQL.
    :param dsn: its data source.
    :param cut: ends all calls of RelStorage that wait for its database.
    :raises zeotwisted.postgresql.PostgreSQLError: it cannot be served in this way.
    """

    _log = Logger()
    is_shared = True
    #: More clients than that wait for the commit lock.
    votes = 16
    marks = True
    #: RelStorage asks its database for a record that can be resolved, and gets another one.
    unpickles = False

    def __init__(
        self,
        storage_id: str,
        storage: Any,
        dsn: str,
        reactor: Any,
        cut: Callable[[], object],
    ) -> None:
        self._name = storage_id
        self._dsn = dsn
        self._reactor = reactor
        self._cut = cut
        postgresql.make_careful(storage)
        self._instances = Instances(storage)
        self.storage = SharedStorage(storage, self._instances)
        self._commits = OwnCommits()
        self._source = _Notified(dsn, self._instances, self._commits, self._interrupt)
        measure, rest = self.storage.measure, self._instances.rest
        self._housekeeping = Housekeeping(storage_id, measure, rest)
        self.records = postgresql.RecordLoads(dsn, self._source.database.keep_history, reactor)
        self.database = str(self._source.database.identity)
        #: A standby takes no commits. Once promoted, it does when the daemon is started again.
        self.is_replica = self._source.database.in_recovery
        self._reader: NewsReader | None = None
        self.storage.measure()

    def prepare(self, function: Callable[[Any], object]) -> None:
        self._instances.prepare(function)

    def lease(self) -> Any:
        return self._instances.lease()

    def give_back(self, storage: Any, is_sound: bool = True) -> None:
        self._instances.give_back(storage, is_sound)

    def forget(self) -> None:
        self._instances.forget()

    def voted(self, storage: Any) -> bytes:
        mark = postgresql.new_mark()
        postgresql.mark_transaction(storage, mark)
        return mark

    def finish(self, storage: Any, transaction: TransactionMetaData, own: OwnCommit) -> None:
        self._commits.begin(own)
        try:
            tid = storage.tpc_finish(transaction)
        except BaseException:
            self._commits.failed(own)
            raise
        self._commits.finished(own, tid)
        self._source.wake()

    def knows(self, tid: bytes) -> bool:
        with closing(postgresql.connect(self._dsn, _LIMIT)) as connection:
            return postgresql.has_tid(connection, self._source.database, tid)

    def outcome(self, mark: bytes) -> bytes | None:
        try:
            with closing(postgresql.connect(self._dsn, _PATIENCE + _LIMIT)) as connection:
                tid = postgresql.outcome(connection, mark, _PATIENCE)
        except postgresql.InDoubt as error:
            raise StorageError(str(error)) from error
        except postgresql.Unreachable as error:
            raise DatabaseFailed(str(error)) from error
        if tid == postgresql.NO_TID:
            raise StorageError("it is committed, and the database does not know its number")
        return tid

    def start(self, news: News) -> None:
        self._log.info(
            "storage {name!r} {how}",
            name=self._name,
            how="is a standby: it is served read-only, and asked for commits many times a second"
            if self.is_replica
            else "is told of the commits of other processes by PostgreSQL",
        )
        self.records.open().addErrback(self._cannot_load)
        self._reader = NewsReader(self._name, self._source, news)
        self._reader.start()
        self._housekeeping.start()

    def _interrupt(self) -> None:
        self._cut()
        self._reactor.callFromThread(self.records.renew)

    def _cannot_load(self, failure: Any) -> None:
        self._log.warn(
            "records of storage {name!r} cannot be loaded yet: {error}",
            name=self._name,
            error=failure.value,
        )

    def refresh(self, done: Callable[[], object]) -> None:
        assert self._reader is not None
        self._reader.refresh(done)

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._housekeeping.stop()
        self._instances.close()


class _Notified:
    """See `newsreader.Source`."""

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
        self._connection = postgresql.connect(dsn, _LIMIT)
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
        self._cleaned = monotonic()
        # The highest tid that was told, also of transactions that have changed nothing.
        self._highest = self._last
        self._checked = monotonic()
        self._misses_marks = False

    def _listen(self) -> postgresql.Listener | Asking:
        if self.database.in_recovery:
            return Asking()
        listener = postgresql.Listener(self._dsn, _LIMIT)
        try:
            listener.selftest()
        except BaseException:
            listener.close()
            raise
        return listener

    def wait(self) -> None:
        self._clean()
        assert self._listener is not None
        self._listener.wait(_HEARTBEAT)

    def _clean(self) -> None:
        if monotonic() - self._cleaned > _CLEANING and not self.database.in_recovery:
            self._cleaned = monotonic()
            postgresql.forget_old(self._connection)

    def wake(self) -> None:
        listener = self._listener
        if listener is not None:
            listener.wake()

    def read(self) -> list[Batch]:
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
            self._commits.wait_for(change.oids, marks, _LIMIT)
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
        self._connection = postgresql.connect(self._dsn, _LIMIT)
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
