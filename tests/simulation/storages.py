"""Storages that a daemon serves, around a FileStorage."""

from __future__ import annotations

import pickle
import threading
from contextlib import suppress
from itertools import count
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import p64
from zope.interface import directlyProvides, providedBy

from .scheduler import Scheduler

__all__ = ["SharedStorage", "SlowStorage"]

#: The seconds between two transactions from outside, on average.
_PAUSES = (0.03, 0.3, 10.0)

#: The oids of the objects that are changed from outside are lower than this.
_MOST_OIDS = 20


class SlowStorage:
    """A FileStorage that does not look like one, so that the daemon uses it in threads."""

    def __init__(self, storage: FileStorage) -> None:
        self._storage = storage
        directlyProvides(self, providedBy(storage))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __len__(self) -> int:
        return len(self._storage)


class SharedStorage(SlowStorage):
    """Others write into it, too, and it tells its user what they have changed.

    A client of another server is such a storage, or one that is in a relational database.
    """

    def __init__(self, storage: FileStorage) -> None:
        super().__init__(storage)
        # Held while something is written from outside.
        self._writing = threading.Lock()
        # Held until what is new is told: FileStorage calls `f` before it has finished.
        self._finishing = threading.Lock()

    def registerDB(self, db: Any) -> None:
        """See ``ZODB.interfaces.IStorage``."""
        self._db = db
        self._storage.registerDB(db)

    def tpc_finish(self, transaction: Any, f: Any = None) -> Any:
        """See ``ZODB.interfaces.IStorage``."""
        with self._finishing:
            return self._storage.tpc_finish(transaction, f)

    def write(self, scheduler: Scheduler) -> None:
        """Change one of the objects now and then, until the disk fails or the storage is closed."""
        random = scheduler.random
        pause = random.choice(_PAUSES)
        with suppress(OSError, ValueError):
            for number in count(1):
                scheduler.sleep(random.expovariate(1 / pause))
                with self._writing:
                    self._change(p64(random.randrange(_MOST_OIDS)), f"outside {number}")

    def close(self) -> None:
        """See ``ZODB.interfaces.IStorage``. What is being written is finished."""
        with self._writing:
            self._storage.close()

    def _change(self, oid: bytes, text: str) -> None:
        try:
            data, _ = self._storage.load(oid)
        except POSKeyError:
            return
        kind = pickle.loads(data)
        if getattr(kind, "__name__", "") != "Cell":
            return
        record = pickle.dumps(kind, 3) + pickle.dumps({"text": text}, 3)
        transaction = TransactionMetaData(description=text)
        self._storage.tpc_begin(transaction)
        # Not earlier: there may have been a commit meanwhile.
        _, serial = self._storage.load(oid)
        self._storage.store(oid, serial, record, "", transaction)
        self._storage.tpc_vote(transaction)
        with self._finishing:
            tid = self._storage.tpc_finish(transaction)
            self._db.invalidate(tid, [oid])
