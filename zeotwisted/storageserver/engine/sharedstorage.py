"""An `IMVCCStorage` in the form of a plain storage that may be used in all threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from ZODB.interfaces import IMVCCStorage, IStorageCurrentRecordIteration
from zope.interface import directlyProvides, providedBy

from .instances import Instances, refresh

__all__ = ["SharedStorage"]

#: The methods that read, and that an instance does for the caller, if the storage has them.
_READS = frozenset(
    {
        "getTid",
        "history",
        "load",
        "loadBefore",
        "loadBlob",
        "loadSerial",
        "openCommittedBlobFile",
        "pack",
        "undoInfo",
        "undoLog",
    }
)

#: The methods that do not ask the database, or that make a connection of their own.
_OWN = frozenset({"getName", "isReadOnly", "sortKey", "supportsUndo", "temporaryDirectory"})

#: How long (seconds) the number of objects and the size of the database are used again.
_SIZE_AGE = 10.0


class SharedStorage:
    """The storage for all calls but transactions.

    It has the methods that the storage has, without those of transactions. Each call uses an
    instance that sees all that clients have been told of.

    :param storage: the `IMVCCStorage`.
    """

    def __init__(self, storage: Any, instances: Instances) -> None:
        self._main = storage
        self._instances = instances
        self._sizes: tuple[int, int] = (0, 0)
        self._measured = -_SIZE_AGE
        for name in _OWN:
            if hasattr(storage, name):
                setattr(self, name, getattr(storage, name))
        for name in _READS:
            if hasattr(storage, name):
                setattr(self, name, partial(self._read, name))
        # To applications, the client is a plain storage. A cursor of `record_iternext` may belong
        # to one instance.
        left_out = (IMVCCStorage, IStorageCurrentRecordIteration)
        kept = [each for each in providedBy(storage).flattened() if each not in left_out]
        directlyProvides(self, *(each for each in kept if not _extends(each, left_out)))

    def _read(self, name: str, *args: Any, **arguments: Any) -> Any:
        with self._instances.fresh() as instance:
            return getattr(instance, name)(*args, **arguments)

    def lastTransaction(self) -> bytes:
        """Return the last transaction that clients have been told of."""
        return self._instances.published

    def new_oid(self) -> bytes:
        oid: bytes = self._read("new_oid")
        return oid

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Any:
        """Iterate over what clients have been told of, with an instance of its own until the end.

        A client that finds its transaction here takes all before it for known.
        """
        last = self.lastTransaction()
        return _Iterator(self._instances.make(), start, last if stop is None else min(stop, last))

    def registerDB(self, database: Any) -> None:
        """Pass on the database: storages ask it for the references of records."""
        self._main.registerDB(database)

    def measure(self) -> None:
        """Ask for the sizes if they are old. Call it in a thread."""
        if monotonic() - self._measured >= _SIZE_AGE:
            self._measured = monotonic()
            # A standby refuses RelStorage's question, which asks as one who may write. Whether the
            # database can be used at all is others' business.
            with suppress(Exception):
                self._sizes = len(self._main), self._main.getSize()

    def __len__(self) -> int:
        """Return the number of objects, as it was some seconds ago."""
        return self._sizes[0]

    def __bool__(self) -> bool:
        return True

    def getSize(self) -> int:
        """Return the size of the database in bytes, as it was some seconds ago."""
        return self._sizes[1]


def _extends(interface: Any, bases: tuple[Any, ...]) -> bool:
    return any(interface.extends(base) for base in bases)


class _Iterator:
    """An iterator over transactions that has an instance of its own. `close` releases it."""

    def __init__(self, instance: Any, start: bytes | None, stop: bytes | None) -> None:
        self._closers: list[Callable[[], object]] = [instance.release]
        try:
            refresh(instance)
            self._iterator = instance.iterator(start, stop)
        except BaseException:
            self.close()
            raise
        if hasattr(self._iterator, "close"):
            self._closers.append(self._iterator.close)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._iterator)

    def close(self) -> None:
        """End the iteration."""
        while self._closers:
            self._closers.pop()()

    def __del__(self) -> None:
        self.close()
