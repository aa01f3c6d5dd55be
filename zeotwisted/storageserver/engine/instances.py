"""A pool of instances of an `IMVCCStorage`.

Each instance sees the database as it was when it was asked for changes last, and is for one thread
at a time. See ``ZODB.interfaces.IMVCCStorage``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock, Thread
from time import monotonic
from typing import Any

from ZODB.POSException import POSError
from ZODB.utils import z64

from .failures import DatabaseFailed, translated

__all__ = ["Instances", "refresh"]

#: How long (seconds) an instance may be unused and keep its view: a database keeps all that the
#: view shows.
_LONGEST_IDLE = 1.0


class _Instance:
    """An instance, and what is known of its view.

    :ivar seen: the last transaction that it sees; None if it has no view now.
    :ivar used: when it was used last.
    """

    __slots__ = ("seen", "storage", "used")

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self.seen: bytes | None = None
        self.used = 0.0


class Instances:
    """The pool; see `engine.Lending`. Call all methods in any thread.

    :param storage: the `IMVCCStorage`; it is not used itself but to make instances.
    :param lends_refreshed: whether an instance for a transaction has to see all that was published
        before. Otherwise its view may be older.
    """

    def __init__(self, storage: Any, lends_refreshed: bool = True) -> None:
        self._storage = storage
        self._lends_refreshed = lends_refreshed
        self._lock = Lock()
        self._free: list[_Instance] = []
        self._leased: dict[int, _Instance] = {}
        self._prepare: list[Callable[[Any], object]] = []
        self._closed = False
        #: The last transaction that clients have been told of: no older view is used any more.
        self.published = z64

    def prepare(self, function: Callable[[Any], object]) -> None:
        """Have `function` called with each instance that is made from now on."""
        self._prepare.append(function)

    def make(self) -> Any:
        """Return a new instance, outside of the pool. The caller has to `release` it."""
        with self._lock:
            # The instances share lists that ZODB's databases change under a lock of their own.
            storage = self._storage.new_instance()
        for function in self._prepare:
            function(storage)
        return storage

    def _take(self) -> _Instance:
        with self._lock:
            # The one that was used last: the others become idle.
            instance = self._free.pop() if self._free else None
        return instance or _Instance(self.make())

    def _take_fresh(self) -> _Instance:
        instance = self._take()
        published = self.published
        if instance.seen is None or instance.seen < published:
            try:
                refresh(instance.storage)
            except BaseException:
                _release(instance.storage)
                raise
            # Storages do not count transactions that have changed nothing.
            instance.seen = max(published, instance.storage.lastTransaction() or z64)
        return instance

    def _put_back(self, instance: _Instance) -> None:
        instance.used = monotonic()
        with self._lock:
            if not self._closed:
                self._free.append(instance)
                return
        _release(instance.storage)

    @contextmanager
    def fresh(self) -> Iterator[Any]:
        """Lend an instance that sees all that was published before this call."""
        with translated():
            instance = self._take_fresh()
        try:
            with translated():
                yield instance.storage
        except DatabaseFailed:
            _release(instance.storage)
            raise
        except POSError:
            # An answer, such as that there is no such object.
            self._put_back(instance)
            raise
        except BaseException:
            # It may have lost its connection to the database.
            _release(instance.storage)
            raise
        self._put_back(instance)

    def lease(self) -> Any:
        """Return an instance for a transaction."""
        with translated():
            instance = self._take_fresh() if self._lends_refreshed else self._take()
        self._leased[id(instance.storage)] = instance
        return instance.storage

    def give_back(self, storage: Any, is_sound: bool = True) -> None:
        """Take back the instance of a transaction.

        :param is_sound: whether it can be used again.
        """
        instance = self._leased.pop(id(storage))
        instance.seen = None
        if is_sound:
            self._put_back(instance)
        else:
            _release(storage)

    def rest(self) -> None:
        """Take the views of instances that have been unused for long."""
        end = monotonic() - _LONGEST_IDLE
        with self._lock:
            idle = [each for each in self._free if each.seen is not None and each.used < end]
            self._free = [each for each in self._free if each not in idle]
        for instance in idle:
            try:
                instance.storage.sync(True)
            except Exception:
                _release(instance.storage)
                continue
            instance.seen = None
            with self._lock:
                # At the front: the others are used first.
                self._free.insert(0, instance)

    def forget(self) -> None:
        """Release all instances that are not in use, as their connections may be lost.

        Another thread does it: it may wait for a database that hangs.
        """
        free = self._take_free()
        if free:
            release = partial(_release_all, free)
            Thread(target=release, name="zeotwisted releases instances", daemon=True).start()

    def _take_free(self) -> list[_Instance]:
        with self._lock:
            free, self._free = self._free, []
        return free

    def close(self) -> None:
        """Release all instances, those in use when they are given back."""
        self._closed = True
        _release_all(self._take_free())


def refresh(storage: Any) -> Any:
    """Have an instance see the database as it is now; return what `poll_invalidations` returns."""
    storage.sync(True)
    return storage.poll_invalidations()


def _release_all(instances: Iterable[_Instance]) -> None:
    for instance in instances:
        _release(instance.storage)


def _release(storage: Any) -> None:
    storage.release()
