"""What the clients of a world do: transactions over a few objects, like those of an application."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import transaction
from BTrees.Length import Length
from persistent import Persistent
from persistent.list import PersistentList
from ZODB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSError, ReadOnlyError, UndoError
from ZODB.utils import p64

from zeotwisted.exceptions import ServerException

from ..history import Recording, unless_in_doubt
from .processes import ClientProcess

if TYPE_CHECKING:
    from .world import World

__all__ = ["CELLS", "Application", "Cell", "make_database", "open_database", "record_cache"]

#: How many objects all clients share.
CELLS = 6

#: There are less objects than this.
_MOST_OIDS = 40

#: How long (seconds) a thread rests at most.
_LONGEST_REST = 100.0

#: How many attempts a client may need after the last fault. Each waits up to 30 seconds.
_ATTEMPTS = 60


class Cell(Persistent):
    """An object with a text."""

    def __init__(self) -> None:
        self.text = ""


def make_database(path: Path) -> None:
    """Make the database that all worlds begin with."""
    db = DB(FileStorage(str(path)))
    with db.transaction() as connection:
        root = connection.root()
        root["cells"] = PersistentList(Cell() for _ in range(CELLS))
        root["counter"] = Length()
    db.close()


class Application:
    """A thread that makes transactions, until the faults are over, and then one more.

    :ivar finished: whether the last transaction is committed, or the process is leaving.
    """

    def __init__(self, world: World, process: ClientProcess, name: str) -> None:
        self.name = name
        self.process = process
        self.finished = False
        self._world = world
        self._random: Random = world.scheduler.random
        self._manager = transaction.TransactionManager()
        self._pace = process.pace
        self._cells = range(world.hot)
        self._written = 0
        # The tids of some snapshots.
        self._seen: deque[bytes] = deque(maxlen=5)

    def run(self, db: Any) -> None:
        """Make transactions."""
        while not self._world.calm:
            if self.process.leaving:
                self.finished = True
                return
            self._attempt(db)
            if self._random.random() < 0.1:
                record_cache(db, self._seen)
            if self._random.random() < 0.5:
                self._rest()
        for _ in range(_ATTEMPTS):
            if self._attempt(db, last=True):
                self.finished = True
                return
            # Others commit, too.
            self._world.scheduler.sleep(self._random.random())
        self._world.problems.append(f"{self.name} cannot commit after the faults are over")

    def _attempt(self, db: Any, last: bool = False) -> bool:
        """Make a transaction; return whether it is committed."""
        connection = None
        try:
            self._manager.begin()
            connection = self._open(db, last)
            self._seen.append(db.storage.lastTransaction())
            if not last and self._random.random() < 0.05:
                self._undo(db)
            else:
                self._use(connection, last)
            self._manager.commit()
            return True
        except POSError as error:
            # The recording has the outcome of the commit.
            self._world.note(f"{self.name}: {type(error).__name__}: {error}")
            if not self._may_happen(error):
                self._world.problems.append(f"{self.name}: {error!r}")
            self._manager.abort()
            return False
        finally:
            if connection is not None:
                connection.close()

    def _may_happen(self, error: POSError) -> bool:
        """Return whether an exception may be raised in this world."""
        if isinstance(error, ServerException):
            # No call of ours is meant to raise another one.
            return isinstance(error, OSError) and self._world.disk.has_failed
        usual = isinstance(error, (ConflictError, UndoError, ReadOnlyError))
        return usual or not self._world.faultless

    def _undo(self, db: Any) -> None:
        """Undo one of the last transactions, but not those that have made the database."""
        last = [entry for entry in db.undoLog(0, 4) if "recorded as" in str(entry["description"])]
        if last:
            db.undo(self._random.choice(last)["id"], self._manager.get())

    def _open(self, db: Any, last: bool) -> Any:
        """Open a connection; sometimes one that shows an earlier state."""
        if self._seen and not last and self._random.random() < 0.05:
            return db.open(self._manager, at=self._random.choice(self._seen))
        return db.open(self._manager)

    def _use(self, connection: Any, writes: bool) -> None:
        random = self._random
        root = connection.root()
        if random.random() < 0.3:
            # So that records are loaded again.
            connection.cacheMinimize()
        cells = root["cells"]
        if random.random() < 0.2:
            connection.prefetch(list(cells))
        self._read(cells, slowly=not writes and random.random() < 0.1)
        if connection.isReadOnly():
            return
        if not writes and random.random() < 0.4:
            return
        for number in random.sample(self._cells, random.randint(1, 2)):
            self._written += 1
            cells[number].text = f"{self.name} {self._written} " + "." * self._size()
        if random.random() < 0.3:
            root["counter"].change(1)
        if random.random() < 0.1:
            cells[random.randrange(CELLS)] = Cell()

    def _rest(self) -> None:
        self._world.scheduler.sleep(min(self._random.expovariate(self._pace), _LONGEST_REST))

    def _read(self, cells: Any, slowly: bool) -> None:
        """Read some cells in any order, or all of them in theirs."""
        random = self._random
        in_order = random.random() < 0.3
        numbers = random.sample(self._cells, random.randint(1, 2))
        for number in range(CELLS) if in_order else numbers:
            cells[number].text  # noqa: B018
            if slowly:
                self._rest()

    def _size(self) -> int:
        """Return the length of a text: usually short, sometimes longer than a piece of the wire."""
        chance = self._random.random()
        if chance < 0.9:
            return self._random.randrange(200)
        return self._random.randrange(200_000 if chance > 0.99 else 5000)


def record_cache(db: Any, tids: Iterable[bytes] = ()) -> None:
    """Record what a client's cache has, for the checker."""
    db.storage.record_cached(map(p64, range(_MOST_OIDS)), tids)


def open_database(process: ClientProcess, history: Any, name: str) -> DB:
    """Open a database whose history is recorded."""
    storage = process.open(wait_timeout=30)
    try:
        return DB(Recording(storage, history, name, unless_in_doubt))
    except BaseException:
        storage.close()
        raise
