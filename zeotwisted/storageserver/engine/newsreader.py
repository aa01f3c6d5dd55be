"""A thread that asks a shared database what has been committed, and tells it in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from ..floods import brief
from .engine import News, OwnCommit

__all__ = ["Batch", "LostTrack", "NewsReader", "Source"]

#: How long (seconds) to wait before the next attempt after a failure.
_AFTER_FAILURE = 0.5


class LostTrack(Exception):
    """It is not known which objects have changed; the text says why.

    :param own: transactions of our clients that have been committed meanwhile, by tid.
    """

    def __init__(self, reason: str, own: dict[bytes, OwnCommit]) -> None:
        super().__init__(reason)
        self.own = own


class Batch(NamedTuple):
    """One transaction, or several that cannot be told apart.

    :ivar tid: the last of them.
    :ivar oids: what they have changed.
    :ivar own: those of our clients, by tid.
    """

    tid: bytes
    oids: Sequence[bytes]
    own: dict[bytes, OwnCommit]


class Source(Protocol):
    """Reads the database. All methods are called in the thread.

    :ivar patience: how long (seconds) there may be no answer before nothing is called current.
    """

    patience: float

    def wait(self) -> None:
        """Wait until there may be news, or for some time. `wake` ends it."""

    def wake(self) -> None:
        """End `wait`; called in any thread."""

    def read(self, is_asked: bool) -> list[Batch]:
        """Return what was committed since the last call, in order.

        :param is_asked: whether all that is committed now is wanted. Otherwise some may be left for
            the next call.

        :raises LostTrack: this is not known. The next call goes on from there.
        """

    def recover(self) -> None:
        """Called after a failure, before `read` is called again.

        :raises LostTrack: the database is not the same.
        """

    def interrupt(self) -> None:
        """End calls that may wait for the database for ever; called in another thread.

        It is called again and again while there is no answer.
        """

    def close(self) -> None:
        """Release the connections. The thread ends."""


class NewsReader:
    """The thread. Call the methods in any thread.

    :param name: the name of the storage.
    """

    _log = Logger()

    def __init__(self, name: str, source: Source, news: News) -> None:
        self._name = name
        self._source = source
        self._news = news
        self._stopped = Event()
        # Called when all that was committed before they were added has been told.
        self._waiting: list[Callable[[], object]] = []
        self._fails = False
        self._problem = "it does not answer"
        # For what the other thread looks at: when all was told last, and what clients know of it.
        self._lock = Lock()
        self._told = monotonic()
        self._is_cut_off = False
        self._thread = Thread(target=self._work, name=f"zeotwisted news of {name}", daemon=True)
        self._watch = Thread(target=self._look, name=f"zeotwisted watch of {name}", daemon=True)

    def start(self) -> None:
        self._told = monotonic()
        self._thread.start()
        self._watch.start()

    def stop(self) -> None:
        """End the threads, and wait for their end; but not for a database that hangs."""
        self._stopped.set()
        self._source.wake()
        for thread in (self._thread, self._watch):
            if thread.is_alive():
                thread.join(self._source.patience)

    def refresh(self, done: Callable[[], object]) -> None:
        """Have `done` called when all that is committed now has been told."""
        self._waiting.append(done)
        self._source.wake()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._pass()
            except Exception as error:
                self._failed(error)
            else:
                self._succeeded()
        self._source.close()

    def _pass(self) -> None:
        try:
            if self._fails:
                self._source.recover()
            else:
                self._source.wait()
            waiting, self._waiting = self._waiting, []
            try:
                batches = self._source.read(bool(waiting))
            except BaseException:
                self._waiting = waiting + self._waiting
                raise
        except LostTrack as lost:
            self._log.critical(
                "storage {name!r} has lost track of what has changed, so all clients have to "
                "verify their caches: {reason}",
                name=self._name,
                reason=brief(lost),
            )
            self._news.lost_track()
            for tid, own in sorted(lost.own.items()):
                self._news.committed(tid, own.oids, own)
            return
        for batch in batches:
            _tell(self._news, batch)
        for done in waiting:
            done()

    def _failed(self, error: Exception) -> None:
        if not self._fails:
            self._fails = True
            self._log.warn(
                "the database of storage {name!r} cannot be read: {kind}: {error}",
                name=self._name,
                kind=type(error).__name__,
                error=brief(error),
            )
        self._problem = brief(error)
        self._stopped.wait(_AFTER_FAILURE)

    def _succeeded(self) -> None:
        if self._fails:
            self._fails = False
            self._problem = "it does not answer"
            self._log.info("the database of storage {name!r} can be read again", name=self._name)
        with self._lock:
            self._told = monotonic()
            if self._is_cut_off:
                self._is_cut_off = False
                self._news.restored()

    def _look(self) -> None:
        """Look whether the thread still gets answers, in another thread: it may be waiting."""
        pause = self._source.patience
        while not self._stopped.wait(pause):
            with self._lock:
                pause = self._told + self._source.patience - monotonic()
                if pause > 0:
                    continue
                pause = self._source.patience
                if not self._is_cut_off:
                    self._is_cut_off = True
                    self._news.cut_off(f"the database cannot be read: {self._problem}")
            self._source.interrupt()


def _tell(news: News, batch: Batch) -> None:
    """Pass a batch on.

    If it is one transaction of ours and nothing else, its client knows what it has changed.
    Otherwise, the client has to be told what others have changed, before it gets its answer. The
    objects are told with the tid of each transaction of ours, and with the last tid: a client that
    loads one that was changed later yet gets a conflict, and never an older revision.
    """
    own = sorted(batch.own.items())
    if len(own) == 1 and own[0][0] == batch.tid and set(batch.oids) <= set(own[0][1].oids):
        news.committed(batch.tid, batch.oids, own[0][1])
        return
    for tid, commit in own:
        commit.origin = None
        news.committed(tid, batch.oids, commit)
    if not own or own[-1][0] < batch.tid:
        news.committed(batch.tid, batch.oids, None)
