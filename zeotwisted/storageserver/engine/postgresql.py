"""Serves RelStorage on PostgreSQL: commits of other processes are pushed by the database.

What `zeotwisted postgresql setup` has installed sends a notification with each commit, see
`notified`; the database is also asked every second, as notifications may be lost. Records are
loaded in the reactor's thread, without RelStorage. Transactions of different clients vote at the
same time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import StorageError

from zeotwisted import postgresql

from .engine import News, OwnCommit, Remote
from .failures import DatabaseFailed
from .housekeeping import Housekeeping
from .instances import Instances
from .newsreader import NewsReader
from .notified import LIMIT, Notified
from .owncommits import OwnCommits
from .sharedstorage import SharedStorage

__all__ = ["PostgreSQL"]

#: How long (seconds) to wait for a transaction whose outcome is asked for.
_PATIENCE = 30.0


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
    remote: Remote | None = None

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
        # RelStorage looks for conflicts in the database, whatever an instance sees.
        self.lending = self._instances = Instances(storage, lends_refreshed=False)
        self.storage = SharedStorage(storage, self._instances)
        self._commits = OwnCommits()
        self._source = Notified(dsn, self._instances, self._commits, self._interrupt)
        measure, rest = self.storage.measure, self._instances.rest
        self._housekeeping = Housekeeping(storage_id, measure, rest)
        self.records = postgresql.RecordLoads(dsn, self._source.database.keep_history, reactor)
        self.database = str(self._source.database.identity)
        #: A standby takes no commits. Once promoted, it does when the daemon is started again.
        self.is_replica = self._source.database.in_recovery
        self._reader: NewsReader | None = None
        self.storage.measure()

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
        if self._commits.finished(own, tid):
            self._source.wake()

    def knows(self, tid: bytes) -> bool:
        with closing(postgresql.connect(self._dsn, LIMIT)) as connection:
            return postgresql.has_tid(connection, self._source.database, tid)

    def outcome(self, mark: bytes) -> bytes | None:
        try:
            with closing(postgresql.connect(self._dsn, _PATIENCE + LIMIT)) as connection:
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
