"""The folder of blobs, and what keeps it from growing for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zc.lockfile
import ZEO.ClientStorage
from ZODB.utils import p64

from tests.clientstorage.support import InThread, wait_until
from zeotwisted.clientstorage.blobs import cleaner as blobcleaner
from zeotwisted.clientstorage.blobs.blobs import CachedBlobs
from zeotwisted.clientstorage.blobs.cache import TRANSFERS, BlobCache, BlobCacheLayout
from zeotwisted.clientstorage.blobs.cleaner import BlobCleaner
from zeotwisted.clientstorage.blobs.uses import OwnUses
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[BlobCache]:
    cache = BlobCache(str(tmp_path / "cache"))
    yield cache
    cache.close()


def add(cache: BlobCache, number: int, size: int = 100, age: float = 1000.0) -> str:
    """Put a blob into the cache that was not used for some time; return its path."""
    path = cache.path(p64(number), p64(1))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(b"x" * size)
    changed = os.stat(path).st_mtime
    os.utime(path, (changed - age, changed))
    return path


def test_layout_is_the_one_of_zeos_clients() -> None:
    ours, theirs = BlobCacheLayout(), ZEO.ClientStorage.BlobCacheLayout()
    for number in (0, 1, 996, 997, 998, 2**63, 2**64 - 1):
        oid = p64(number)
        assert ours.oid_to_path(oid) == theirs.oid_to_path(oid)
        assert ours.getBlobFilePath(oid, p64(7)) == theirs.getBlobFilePath(oid, p64(7))


def test_locks_are_those_of_zeos_clients(cache: BlobCache) -> None:
    path = add(cache, 1)
    lock = cache.lock(path)
    with pytest.raises(zc.lockfile.LockError):
        zc.lockfile.LockFile(os.path.join(os.path.dirname(path), ".lock"))
    cache.unlock(lock)
    theirs = zc.lockfile.LockFile(os.path.join(os.path.dirname(path), ".lock"))
    assert cache.try_lock(path) is None
    with pytest.raises(ClientStorageError, match="locked by another process"):
        cache.lock(path, timeout=0.01)
    theirs.close()
    cache.unlock(cache.lock(path))


def test_closing_ends_the_wait_for_a_lock(cache: BlobCache) -> None:
    path = cache.path(p64(1), p64(1))
    cache.lock(path)
    errors = []

    def wait() -> None:
        try:
            cache.lock(path)
        except ClientDisconnected as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    cache.close()
    thread.join(20)
    assert errors


def test_what_was_not_used_for_the_longest_time_goes_first(cache: BlobCache) -> None:
    paths = [add(cache, number, age=1000.0 - number) for number in range(10)]
    assert cache.use(paths[0])
    assert not BlobCleaner(cache, 500, 20, in_use=0.0).clean()
    # A fifth of the limit is left for what is added until the next look.
    assert [os.path.exists(path) for path in paths] == [True, *[False] * 6, *[True] * 3]


def test_below_the_limit_nothing_is_removed(cache: BlobCache) -> None:
    paths = [add(cache, number) for number in range(4)]
    assert not BlobCleaner(cache, 500, 20, in_use=0.0).clean()
    assert all(map(os.path.exists, paths))


def test_what_is_in_use_stays(cache: BlobCache) -> None:
    used = add(cache, 1)
    assert cache.use(used)
    locked = add(cache, 2)
    lock = cache.lock(locked)
    others = [add(cache, number) for number in range(3, 6)]
    cleaner = BlobCleaner(cache, 0, 0)
    assert cleaner.clean(), "there is still too much"
    assert os.path.exists(used) and os.path.exists(locked)
    assert not any(map(os.path.exists, others))
    cache.unlock(lock)
    cleaner.clean()
    assert not os.path.exists(locked)


def test_what_is_in_use_goes_later_by_itself(cache: BlobCache) -> None:
    path = add(cache, 1)
    cache.use(path)
    cleaner = BlobCleaner(cache, 0, 0, in_use=0.05)
    cleaner.start()
    try:
        gone = threading.Event()
        for _ in range(1000):
            if not os.path.exists(path):
                gone.set()
                break
            gone.wait(0.01)
        assert gone.is_set()
    finally:
        cleaner.close()


@pytest.mark.parametrize(("limit", "percent"), [(0, 0), (0, 10), (1000, 0), (5, 10)])
def test_nothing_is_looked_at_unless_something_was_added(
    cache: BlobCache, limit: int, percent: int
) -> None:
    looks = threading.Semaphore(0)
    cleaner = BlobCleaner(cache, limit, percent)
    cleaner.clean = lambda: looks.release()  # type: ignore[method-assign]
    cleaner.start()
    try:
        assert looks.acquire(timeout=20)
        assert not looks.acquire(timeout=0.05)
        cleaner.added(limit + 1)
        assert looks.acquire(timeout=20)
    finally:
        cleaner.close()


def test_other_cleaners_are_told(cache: BlobCache) -> None:
    path = add(cache, 1)
    lock = zc.lockfile.LockFile(os.path.join(cache.folder, "check_size.lock"))
    assert BlobCleaner(cache, 0, 0).clean()
    assert os.path.exists(path)
    note = os.path.join(cache.folder, "check_size.attempt")
    assert os.path.exists(note)
    lock.close()
    BlobCleaner(cache, 0, 0).clean()
    assert not os.path.exists(path) and not os.path.exists(note)


def test_other_cleaners_are_not_relied_upon(cache: BlobCache) -> None:
    """Whoever is at it may be closed before it has seen that there is more to do."""
    path = add(cache, 1)
    lock = zc.lockfile.LockFile(os.path.join(cache.folder, "check_size.lock"))
    cleaner = BlobCleaner(cache, 0, 0, in_use=0.05)
    cleaner.start()
    try:
        note = os.path.join(cache.folder, "check_size.attempt")
        wait_until("it has found the other one", lambda: os.path.exists(note))
        lock.close()
        wait_until("the file is gone", lambda: not os.path.exists(path))
    finally:
        cleaner.close()


def test_stock_leftovers_are_removed(cache: BlobCache) -> None:
    path = cache.path(p64(1), p64(1))
    lock = cache.lock(path)
    Path(path + ".dl").touch()
    BlobCleaner(cache, 100, 10).clean()
    assert os.path.exists(path + ".dl"), "somebody is receiving it"
    cache.unlock(lock)
    BlobCleaner(cache, 100, 10).clean()
    assert not os.path.exists(path + ".dl")


def test_transfers_of_those_who_live_stay(cache: BlobCache) -> None:
    descriptor, name = cache.partial()
    os.close(descriptor)
    other = BlobCache(cache.folder)
    other.remove_abandoned()
    assert os.path.exists(name)
    other.close()
    cache.close()
    assert os.listdir(os.path.join(cache.folder, TRANSFERS)) == [".lock"]


def present(paths: list[str]) -> list[bool]:
    return [os.path.exists(path) for path in paths]


#: Longer than any test.
LONG = 1000.0


def test_what_only_a_closed_client_has_used_goes(cache: BlobCache) -> None:
    other = BlobCache(cache.folder)
    paths = [add(cache, number) for number in range(4)]
    cleaner = BlobCleaner(cache, 100, 0, in_use=LONG)
    cleaner.start()
    for path in (paths[1], paths[2], paths[3]):
        assert cache.use(path)
    assert other.use(paths[1])
    cleaner.close()
    # The other client may be about to open it.
    assert present(paths) == [False, True, False, False]
    other.close()


def test_a_client_that_is_used_spares_its_own(cache: BlobCache) -> None:
    path = add(cache, 1)
    cache.use(path)
    cleaner = BlobCleaner(cache, 0, 0, in_use=LONG)
    assert cleaner.clean()
    assert present([path]) == [True]
    cleaner.added(1)
    cleaner.close()
    assert present([path]) == [False]


def test_what_nobody_can_be_using_any_more_goes(cache: BlobCache) -> None:
    """A process that was killed has used it a moment ago."""
    path = add(cache, 1)
    lost = BlobCache(cache.folder)
    lost.use(path)
    cleaner = BlobCleaner(cache, 0, 0, in_use=LONG)
    assert not cache.is_alone()
    assert cleaner.clean()
    assert present([path]) == [True]
    lost.close()
    assert cache.is_alone()
    assert not cleaner.clean()
    assert present([path]) == [False]


def test_nobody_is_alone_who_cannot_be_seen(cache: BlobCache) -> None:
    assert cache.is_alone()
    os.remove(os.path.join(cache.folder, "clients.lock"))
    assert not cache.is_alone()


def test_what_arrives_is_in_use_from_the_beginning(cache: BlobCache) -> None:
    """Even if it took long, and the cleaner looks before anybody else."""
    descriptor, name = cache.partial()
    os.write(descriptor, b"x" * 100)
    os.close(descriptor)
    os.utime(name, (1, 1))
    path = cache.path(p64(1), p64(1))
    cache.put(name, path)
    assert BlobCleaner(cache, 0, 0).clean()
    assert present([path]) == [True]


def test_closing_waits_for_another_cleaner(cache: BlobCache) -> None:
    path = add(cache, 1)
    cleaner = BlobCleaner(cache, 0, 0)
    lock = zc.lockfile.LockFile(os.path.join(cache.folder, "check_size.lock"))
    cleaner.added(1)
    closing = InThread(cleaner.close)
    wait_until("it waits", lambda: "_clean_at_end" in closing.stack)
    assert present([path]) == [True]
    lock.close()
    closing.result()
    assert present([path]) == [False]


def test_closing_does_not_wait_for_ever(cache: BlobCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobcleaner, "_AT_END", 0.05)
    cleaner = BlobCleaner(cache, 0, 0)
    lock = zc.lockfile.LockFile(os.path.join(cache.folder, "check_size.lock"))
    cleaner.added(1)
    InThread(cleaner.close).result()
    lock.close()


def test_closing_while_it_looks(cache: BlobCache) -> None:
    """It does not wait then until what is in use now is not so any more."""
    used = add(cache, 1)
    other = BlobCache(cache.folder)
    looking, go_on = threading.Event(), threading.Event()

    class Slow(BlobCleaner):
        def clean(self) -> bool:
            looking.set()
            assert go_on.wait(20)
            return super().clean()

    cleaner = Slow(cache, 0, 0, in_use=LONG)
    cleaner.start()
    assert looking.wait(20)
    other.use(used)
    closing = InThread(cleaner.close)
    wait_until("it waits", lambda: "join" in closing.stack)
    go_on.set()
    closing.result()
    assert present([used]) == [True]
    other.close()


def test_closing_twice_and_without_anything_to_do(cache: BlobCache) -> None:
    path = add(cache, 1)
    cleaner = BlobCleaner(cache, 0, 0)
    cleaner.close()
    cleaner.close()
    assert present([path]) == [True], "this client has added nothing, and was not started"


def test_what_cannot_be_removed_keeps_nobody_from_the_rest(
    cache: BlobCache, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [add(cache, number) for number in range(2)]
    odd = os.path.join(cache.folder, "5", "1.blob")
    os.makedirs(odd)
    os.utime(odd, (1, 1))
    Path(cache.folder, "123").touch()
    cleaner = BlobCleaner(cache, 100, 0)
    for _ in range(2):
        # There would be no end of it.
        assert not cleaner.clean()
    assert present(paths) == [False, False] and os.path.exists(odd)
    assert len([each for each in caplog.messages if "cannot be removed" in each]) == 1


def test_own_uses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = OwnUses(5.0)
    now = time.time_ns()
    uses.note("old", now - int(6e9))
    uses.note("new", now)
    assert not uses.is_last("old", now - int(6e9))
    assert uses.is_last("new", now) and uses.is_last("new", now - 1)
    assert not uses.is_last("new", now + 1)
    assert not uses.is_last("unknown", 0)


@pytest.mark.parametrize("percent", [-1, 100])
def test_odd_percentages(tmp_path: Path, percent: int) -> None:
    with pytest.raises(ValueError, match="percentage below 100"):
        CachedBlobs(str(tmp_path), 1000, percent)
