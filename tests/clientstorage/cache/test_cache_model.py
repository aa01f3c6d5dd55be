"""The caches against a server that keeps everything.

A cache may forget; it never lies. It forgets nothing while it is nearly empty.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zeotwisted.clientstorage.cache import file
from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache

from ...models import effort

OBJECTS = 5

#: A record of this size (bytes) fits into each cache.
_ALWAYS_FITS = 2000

#: More bytes than an entry takes besides its data.
_OVERHEAD = 500


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


OIDS = [tid(number) for number in range(1, OBJECTS + 1)]

oids = st.sampled_from(OIDS)
sizes = st.sampled_from([0, 10, 10, _ALWAYS_FITS, 20_000])


class Cache(RuleBasedStateMachine):
    """A server with a history, and a cache that is told of it in order."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 64 * 1024
        self.cache: Any = ClientCache(self.limit)
        self.now = 0
        # For each object, its revisions in ascending order.
        self.history: dict[bytes, list[tuple[bytes, bytes]]] = {}
        #: What the cache was given and not told to forget: oids and starts.
        self.given: set[tuple[bytes, bytes]] = set()
        #: An upper limit of what that takes.
        self.taken = 0

    def revision(self, oid: bytes, before: bytes) -> Any:
        """Return what the server would answer."""
        found = None
        for start, data in self.history.get(oid, ()):
            if start < before:
                found = [data, start, None]
            elif found is not None:
                found[2] = start
                break
        return None if found is None else tuple(found)

    def change(self, oid: bytes, size: int = 10) -> None:
        """Make a new revision at the server."""
        self.history.setdefault(oid, []).append((tid(self.now), b"%d" % self.now + b"x" * size))

    def may_forget(self) -> bool:
        """Return whether the cache may be without records that it was given."""
        return self.taken >= self.limit // 4

    def forgotten(self, *oids: bytes) -> None:
        self.given = {(oid, start) for oid, start in self.given if oid not in oids}

    @initialize(changes=st.lists(st.tuples(st.sets(oids, min_size=1), sizes), min_size=4))
    def fill(self, changes: list[tuple[set[bytes], int]]) -> None:
        """Otherwise most sequences would do things to an empty cache."""
        for changed, size in changes:
            self.commit(changed, size, True)

    @rule(changed=st.sets(oids, min_size=1), size=sizes, is_own=st.booleans())
    def commit(self, changed: set[bytes], size: int, is_own: bool) -> None:
        """A transaction changes objects. If it is the client's own, it has the new records."""
        self.now += 1
        for oid in changed:
            self.change(oid, size)
            self.taken += _OVERHEAD
            if is_own:
                self.cache.invalidate(oid, tid(self.now))
                self.store(oid, tid(self.now + 1))
        if not is_own:
            self.cache.changed(tid(self.now), sorted(changed))
        self.cache.setLastTid(tid(self.now))

    @rule(wanted=st.sets(oids, min_size=1), back=st.integers(-1, 10))
    def load(self, wanted: set[bytes], back: int) -> None:
        """The server's answers to loads are stored."""
        for oid in wanted:
            self.store(oid, tid(max(self.now - back, 0)))

    def store(self, oid: bytes, before: bytes) -> None:
        revision = self.revision(oid, before)
        if revision is None:
            return
        data, start, end = revision
        self.cache.store(oid, start, end, data)
        self.given.add((oid, start))
        self.taken += len(data) + _OVERHEAD
        if len(data) <= _ALWAYS_FITS + 9:
            assert self.cache.loadBefore(oid, before) == revision

    @precondition(lambda self: self.history)
    @rule(data=st.data())
    def hear_again_of_an_old_transaction(self, data: Any) -> None:
        oid = data.draw(st.sampled_from(sorted(self.history)))
        start, _ = data.draw(st.sampled_from(self.history[oid]))
        current = self.cache.load(oid)
        self.cache.invalidate(oid, start)
        self.taken += _OVERHEAD
        assert self.cache.load(oid) == current or self.may_forget()

    @rule(
        how=st.sampled_from(["invalidate", "forget", "forget", "clear", "set_aside"]),
        dropped=st.lists(oids, min_size=1, max_size=120),
    )
    def drop(self, how: str, dropped: list[bytes]) -> None:
        if how == "invalidate":
            dropped = dropped[:1]
            self.cache.invalidate(dropped[0], None)
        elif how == "forget":
            self.cache.forget(dropped)
        else:
            getattr(self.cache, how)()
            dropped, self.taken = OIDS, 0
            assert len(self.cache) == 0
        self.taken += 8 * len(dropped) + _OVERHEAD
        self.forgotten(*dropped)
        for oid in set(dropped):
            assert not any(self.cache.loadBefore(oid, tid(now)) for now in range(self.now + 2))

    @rule(oid=oids)
    def read(self, oid: bytes) -> None:
        """A record that is read stays longer, so not all are read after each step."""
        self.check(oid)

    @rule()
    def read_all(self) -> None:
        for oid in OIDS:
            self.check(oid)

    def check(self, oid: bytes) -> None:
        current = self.cache.load(oid)
        expected = self.revision(oid, tid(self.now + 1))
        assert current is None or current == expected[:2]
        for before in map(tid, range(self.now + 2)):
            found = self.cache.loadBefore(oid, before)
            assert found is None or found == self.revision(oid, before)
        if not self.may_forget():
            for given, start in self.given:
                if given == oid:
                    after = tid(int.from_bytes(start, "big") + 1)
                    assert self.cache.loadBefore(oid, after), "it has forgotten without need"

    @invariant()
    def knows_how_far_it_is(self) -> None:
        assert self.cache.getLastTid() == tid(self.now)

    @invariant()
    def keeps_its_limit(self) -> None:
        assert 0 <= self.cache.used <= self.limit
        assert len(self.cache) <= self.cache.used
        if type(self.cache) is ClientCache:
            assert (self.cache.used == 0) == (len(self.cache) == 0), "it has counted wrongly"

    def teardown(self) -> None:
        self.read_all()


class Killed(BaseException):
    """The process ends here."""


class Disk:
    """Counts what is done to files, and kills the process at one of these steps.

    :param step: the number of the step in which the process is killed.
    :param part: how many bytes of that write get to the file.
    """

    STEPS = ("pwrite", "rename", "ftruncate", "posix_fallocate", "remove")

    def __init__(self, step: int, part: int) -> None:
        self._left = step
        self._part = part
        #: The writes: the offset and what was there before.
        self.writes: list[tuple[int, bytes]] = []

    def __enter__(self) -> Disk:
        self._patches = [
            patch(f"os.{name}", partial(self._step, getattr(os, name)))
            for name in self.STEPS
            if hasattr(os, name)
        ]
        for each in self._patches:
            each.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        for each in self._patches:
            each.stop()
        return kind is Killed

    def _step(self, function: Callable[..., Any], *args: Any) -> Any:
        self._left -= 1
        is_write = function.__name__ == "pwrite"
        if is_write:
            number, data, offset = args
            self.writes.append((offset, os.pread(number, len(data), offset)))
            if self._left == 0:
                function(number, data[: self._part], offset)
        if self._left <= 0:
            raise Killed
        return function(*args)

    def lose(self, path: Path, lost: set[int]) -> None:
        """Let the power fail: some of the last writes do not get to the disk.

        Writes that reach the disk later than the others of their step are what a torn end is.
        """
        with path.open("r+b") as opened:
            for number, (offset, before) in reversed(list(enumerate(reversed(self.writes)))):
                if number in lost:
                    opened.seek(offset)
                    opened.write(before)


class Indexer:
    """Stands in for the thread that builds the index: it works when a rule says so."""

    ident: int | None = None

    def __init__(self, target: Callable[[], None], **_: Any) -> None:
        self._work = target

    def start(self) -> None:
        self.ident = 1

    def join(self) -> None:
        self._work()


class FileCacheMachine(Cache):
    """The same in a file, which is opened again at any time, also after the process was killed."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = patch.multiple(file, Thread=Indexer, _SLICE=3, _PAUSE=0)
        self._patch.start()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "cache"
        self.cache = FileCache(str(self.path), self.limit)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.cache.close()
            self._patch.stop()
            shutil.rmtree(self.folder)

    def may_forget(self) -> bool:
        # It finds the records of the file when the index is complete.
        return super().may_forget() or not self.cache._indexed

    def reopen(self) -> None:
        self.cache.close()
        self.cache = FileCache(str(self.path), self.limit)

    @rule(times=st.sampled_from([1, 30, 300]))
    def nothing_happens(self, times: int) -> None:
        """The last tid is written again and again: the log goes round."""
        for _ in range(times):
            self.cache.setLastTid(tid(self.now))
        self.taken += times * _OVERHEAD

    @rule(size=st.sampled_from([64 * 1024, 64 * 1024, 80 * 1024, 150 * 1024]), waits=st.booleans())
    def restart(self, size: int, waits: bool) -> None:
        """Open the file again, perhaps with another size.

        :param waits: wait for the index; otherwise the next step is done without it.
        """
        known = sorted(self.cache.revisions()) if waits else []
        grows = size >= self.limit
        if not grows:
            # It keeps what there is room for.
            self.given = set()
        self.limit = size
        self.reopen()
        assert self.path.stat().st_size == size
        if waits and grows:
            assert sorted(self.cache.revisions()) == known

    @rule(count=st.integers(1, 9))
    def index_more(self, count: int) -> None:
        for _ in range(count):
            self.cache._index_more()

    def hear(self) -> None:
        self.cache.changed(tid(self.now), OIDS[:3])
        self.cache.setLastTid(tid(self.now))

    def store_all(self) -> None:
        for oid in OIDS:
            self.store(oid, tid(self.now + 1))

    @precondition(lambda self: self.now)
    @rule(
        what=st.sampled_from(["hear", "store_all", "clear", "set_aside", "resize"]),
        step=st.integers(1, 30),
        part=st.integers(0, 100),
        lost=st.sets(st.integers(0, 4)),
    )
    def end(self, what: str, step: int, part: int, lost: set[int]) -> None:
        """The process is killed while it does something, or the power fails.

        Then the client is started again, and is told what it has missed.
        """
        before = self.now
        if what == "hear":
            self.now += 1
            for oid in OIDS[:3]:
                self.change(oid)
        with Disk(step, part) as disk:
            if what == "resize":
                self.limit = 100 * 1024
                self.reopen()
            else:
                getattr(self.cache if hasattr(self.cache, what) else self, what)()
        self.cache.close()
        disk.lose(self.path, lost)
        self.cache = FileCache(str(self.path), self.limit)
        seen = int.from_bytes(self.cache.getLastTid(), "big")
        assert seen in (0, before, self.now)
        self.cache.wait_until_indexed()
        for oid, start, stop, data in self.cache.revisions():
            found, known, end = self.revision(oid, tid(int.from_bytes(start, "big") + 1))
            assert (data, start) == (found, known)
            assert stop == end or (stop is None and end > tid(seen)), "it believes too much"
        self.cache.forget([oid for oid in OIDS if self.changed_after(oid, seen)])
        self.cache.setLastTid(tid(self.now))
        # How much is left is not promised.
        self.given, self.taken = set(), self.limit

    def changed_after(self, oid: bytes, seen: int) -> bool:
        return any(start > tid(seen) for start, _ in self.history.get(oid, ()))


Cache.TestCase.settings = effort(60, 40)
TestCache = Cache.TestCase
FileCacheMachine.TestCase.settings = effort(220, 40)
TestFileCache = FileCacheMachine.TestCase
