"""A client whose cache is in a file."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import ZEO.cache
from ZODB.utils import p64, z64

from zeotwisted.clientstorage.cache import CacheFileError
from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.log import HEADER
from zeotwisted.clientstorage.cache.opening import open_cache
from zeotwisted.exceptions import ClientDisconnected

from ..support import SOON, World, store
from .damagecache import damage_caches
from .killcache import kill_clients


def fill(path: Path, count: int = 50) -> None:
    cache = FileCache(str(path), 100_000)
    for number in range(count):
        cache.store(p64(number), p64(1), None, b"%d" % number)
    cache.setLastTid(p64(1))
    cache.close()


def test_the_names_are_those_of_zeo(tmp_path: Path) -> None:
    cache = open_cache(None, "me", str(tmp_path), "1", 100_000)
    assert cache.path == str(tmp_path / "me-1.zec")
    assert os.path.getsize(cache.path) == 100_000
    cache.close()


@pytest.mark.timeout(30)
def test_a_record_that_does_not_fit_into_the_main_queue_is_dropped(tmp_path: Path) -> None:
    """It fits into the probation queue, which is larger, and is requested there."""
    cache = FileCache(str(tmp_path / "cache"), 64 * 1024)
    cache.store(p64(1), p64(1), None, b"x" * 20_000)
    assert cache.load(p64(1))
    for number in range(2, 40):
        cache.store(p64(number), p64(1), None, b"x" * 2000)
    assert cache.load(p64(1)) is None
    assert cache.load(p64(39)) == (b"x" * 2000, p64(1))
    cache.close()


def test_a_file_with_few_records_is_open_after_few_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "cache")
    FileCache(path).close()
    read: list[int] = []
    pread = os.pread

    def count(number: int, length: int, offset: int) -> bytes:
        data = pread(number, length, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", count)
    FileCache(path).close()
    assert 0 < sum(read) < 20_000


def test_a_second_user_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    cache = FileCache(path)
    with pytest.raises(CacheFileError, match=f"{path}: another storage uses this cache file"):
        FileCache(path)
    cache.close()
    FileCache(path).close()


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "Data.fs"
    path.write_bytes(b"FS30 and so on")
    with pytest.raises(CacheFileError, match="not a cache file"):
        FileCache(str(path))
    assert path.read_bytes() == b"FS30 and so on"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CacheFileError, match="cannot be locked: No such file"):
        FileCache(str(tmp_path / "missing" / "cache"))


@pytest.mark.parametrize("size", [70_000, 120_000, 5_000_000])
def test_the_size_may_be_changed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cache"
    # More than a log takes, so that there are records in both.
    cache = FileCache(str(path), 100_000)
    for number in range(60):
        cache.store(p64(number), p64(1), None, b"%d" % number * 700)
        cache.load(p64(number))
    cache.invalidate(p64(59), p64(2))
    cache.setLastTid(p64(2))
    before = set(cache.revisions())
    cache.close()

    cache = FileCache(str(path), size)
    after = set(cache.revisions())
    assert cache.getLastTid() == p64(2)
    assert after == before if size > 100_000 else after < before and len(after) > 10
    cache.close()
    assert path.stat().st_size == size
    assert {each.name for each in tmp_path.iterdir()} <= {"cache", "cache.lock"}
    cache = FileCache(str(path), size)
    assert set(cache.revisions()) == after and cache.getLastTid() == p64(2)
    cache.close()


def test_a_damaged_file_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    fill(path)
    content = bytearray(path.read_bytes())
    content[515] ^= 1
    path.write_bytes(content)
    cache = FileCache(str(path), 200_000)
    assert len(cache) == 0 and cache.getLastTid() == z64
    cache.store(p64(1), p64(1), None, b"new")
    assert cache.load(p64(1)) == (b"new", p64(1))
    cache.close()


@pytest.mark.parametrize("damage", ["zeo", "version", "cut", "header", "state"])
def test_what_cannot_be_used_is_set_aside(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache"
    fill(path)
    content = bytearray(path.read_bytes())
    if damage == "zeo":
        content[:4] = b"ZEC3"
    elif damage == "version":
        content[17:18] = b"1"
    elif damage == "cut":
        del content[50_000:]
    else:
        content[30 if damage == "header" else 515] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        cache = FileCache(str(path), 100_000)
    assert len(cache) == 0 and cache.getLastTid() == z64
    assert (tmp_path / "cache.bak1").read_bytes() == content
    assert "cache.bak1" in caplog.text
    cache.close()


def test_a_full_disk_ends_the_file_but_not_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache"
    fill(path)
    cache = FileCache(str(path), 100_000)
    cache.wait_until_indexed()

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    cache.invalidate(p64(3), p64(2))
    cache.setLastTid(p64(2))
    monkeypatch.undo()
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert cache.load(p64(3)) is None and cache.getLastTid() == p64(2)
    cache.store(p64(3), p64(2), None, b"new")
    assert cache.load(p64(3)) == (b"new", p64(2))
    # The file does not have the other one.
    cache.store(p64(77), p64(2), None, b"new")
    cache.changed(p64(3), [p64(3), p64(4), p64(77)])
    cache.setLastTid(p64(3))
    for oid in p64(3), p64(77):
        assert cache.load(oid) is None
        assert cache.loadBefore(oid, p64(3)) == (b"new", p64(2), p64(3))
    cache.close()
    cache = FileCache(str(path), 100_000)
    cache.wait_until_indexed()
    # Verification will tell what has happened since.
    assert cache.getLastTid() == p64(1) and cache.load(p64(3)) == (b"3", p64(1))
    cache.close()


def test_a_record_damaged_on_the_disk_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    cache = FileCache(str(path), 100_000)
    cache.store(p64(1), p64(1), None, b"precious")
    for number in range(2, 20):
        cache.store(p64(number), p64(1), None, b"x" * 1000)
    cache.setLastTid(p64(1))
    cache.close()
    content = path.read_bytes()
    with path.open("rb+") as file:
        file.seek(content.index(b"precious"))
        file.write(b"q")
    cache = FileCache(str(path), 100_000)
    cache.wait_until_indexed()
    assert len(cache) == 19
    assert cache.load(p64(1)) is None
    cache.close()


def test_a_killed_client_leaves_nothing_that_is_wrong() -> None:
    records, filled = kill_clients(6)
    assert records and filled


def test_a_client_goes_on_with_its_file(world: World, tmp_path: Path) -> None:
    server = world.server()
    path = str(tmp_path / "cache")
    storage = world.client(server.address, cache=path)
    tid = store(storage, p64(1), b"one")
    store(storage, p64(2), b"two")
    storage.close()
    other = world.client(server.address)
    changed = store(other, p64(2), b"new", other.getTid(p64(2)))
    storage = world.client(server.address, cache=path)
    storage._cache.wait_until_indexed()
    assert storage._cache.load(p64(1)) == (b"one", tid)
    assert storage._cache.load(p64(2)) is None
    assert storage.load(p64(2)) == (b"new", changed)
    assert storage.cache_statistics()["entries"] == 2
    with pytest.raises(CacheFileError, match="another storage"):
        world.client(server.address, cache=path)


def test_without_a_server_all_of_the_file_is_served(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.server()
    path = str(tmp_path / "cache")
    storage = world.client(server.address, cache=path)
    tid = store(storage, p64(1), b"one")
    storage.close()
    server.stop()

    wanted = Event()
    make_index, wait = FileCache._make_index, FileCache.wait_until_indexed

    def make_index_late(cache: FileCache) -> None:
        wanted.wait(SOON)
        make_index(cache)

    def want(cache: FileCache) -> None:
        wanted.set()
        wait(cache)

    monkeypatch.setattr(FileCache, "_make_index", make_index_late)
    monkeypatch.setattr(FileCache, "wait_until_indexed", want)
    storage = world.client(server.address, cache=path, wait=False, wait_timeout=0.1)
    assert storage.load(p64(1)) == (b"one", tid)
    with pytest.raises(ClientDisconnected):
        storage.load(p64(2))


def test_the_cache_of_zeo_may_be_passed(world: World) -> None:
    server = world.server()
    cache = ZEO.cache.ClientCache(None, 100_000)
    storage = world.client(server.address, cache=cache)
    store(storage, p64(1), b"one")
    assert cache.load(p64(1)) is not None
    assert storage.cache_statistics() == {}


def test_a_child_leaves_the_file_to_its_parent(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    cache = FileCache(path)
    cache.store(p64(1), p64(1), None, b"x")
    pid = os.fork()
    if not pid:
        cache.abandon()
        cache.store(p64(2), p64(1), None, b"x")
        os._exit(0 if cache.load(p64(1)) is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert cache.load(p64(1)) and cache.load(p64(2)) is None
    with pytest.raises(CacheFileError, match="another storage"):
        FileCache(path)
    cache.close()


def test_an_object_that_moves_to_make_room_for_its_invalidation(tmp_path: Path) -> None:
    """There is no room in the log that has the object, so that it moves to the other one."""
    for tell_end in (True, False):
        path = str(tmp_path / f"cache{tell_end}")
        cache = FileCache(path)
        cache.store(p64(1), p64(1), None, b"old")
        assert cache.load(p64(1))
        log = cache._probation.log
        while log.room(0, spare=True):
            cache.setLastTid(p64(1))
        if tell_end:
            cache.invalidate(p64(1), p64(2))
            assert cache.load(p64(1)) is None
        cache.store(p64(1), p64(2), None, b"new")
        cache.invalidate(p64(1), p64(3))
        cache.setLastTid(p64(3))
        assert log.tail
        cache.close()
        cache = FileCache(path)
        for oid, start, end, data in cache.revisions():
            assert (oid, start, end, data) == (p64(1), p64(2), p64(3), b"new") or (
                (oid, start, end, data) == (p64(1), p64(1), p64(2), b"old") and tell_end
            )
        cache.close()


def killed_at_write(path: Path, number: int) -> None:
    """Open a cache in a process that is killed before that write."""
    pid = os.fork()
    if not pid:
        count = itertools.count(1)

        def pwrite(*args: Any) -> int:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        real, os.pwrite = os.pwrite, pwrite
        FileCache(str(path), 100_000)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_killed_while_creating_the_file(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        path = tmp_path / f"cache{number}"
        killed_at_write(path, number)
        fill(path)
        assert not Path(f"{path}.bak1").exists()


@pytest.mark.parametrize("length", [1, 5, 17, 18, 24, 30])
def test_lost_power_while_creating_the_file(tmp_path: Path, length: int) -> None:
    """The disk may have the beginning of the header only."""
    path = tmp_path / "cache"
    FileCache(str(path), 100_000).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:length] + b"\0" * (len(whole) - length))
    cache = FileCache(str(path), 100_000)
    cache.setLastTid(p64(1))
    cache.close()
    reopened = FileCache(str(path), 100_000)
    assert reopened.getLastTid() == p64(1)
    reopened.close()


def test_what_cannot_be_verified_is_forgotten(tmp_path: Path) -> None:
    """Killed in the first transaction of all, before its tid was noted."""
    path = str(tmp_path / "cache")
    cache = FileCache(path)
    cache.store(p64(1), p64(1), None, b"x")
    cache.close()
    cache = FileCache(path)
    assert cache.load(p64(1)) is None and cache.getLastTid() == z64
    cache.setLastTid(p64(2))
    cache.close()
    cache = FileCache(path)
    assert list(cache.revisions()) == []
    cache.close()


def test_any_eight_bytes_are_an_oid(tmp_path: Path) -> None:
    path = str(tmp_path / "cache")
    oid = b"\xff" * 8
    for _ in range(2):
        cache = FileCache(path, 100_000)
        cache.store(oid, p64(1), None, b"x" * 20_000)
        cache.setLastTid(p64(1))
        cache.wait_until_indexed()
        assert cache.load(oid) == (b"x" * 20_000, p64(1))
        for number in range(5):
            cache.store(p64(number), p64(1), None, b"x" * 20_000)
        cache.close()


@pytest.fixture
def not_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the index made by who needs it alone."""
    monkeypatch.setattr(FileCache, "_make_index", lambda cache: None)


def test_nobody_waits_for_the_index(tmp_path: Path, not_indexed: None) -> None:
    path = str(tmp_path / "cache")
    cache = FileCache(path, 200_000)
    for number in range(1000):
        cache.store(p64(number), p64(1), None, b"x" * 300)
        cache.setLastTid(p64(1))
    cache.close()
    cache = FileCache(path, 200_000)
    for number in range(1000, 1100):
        cache.store(p64(number), p64(1), None, b"x" * 300)
    for number in range(980, 1000):
        cache.invalidate(p64(number), p64(2))
    cache.setLastTid(p64(2))
    assert not cache._indexed
    assert cache.load(p64(1099))
    while cache._index_more():
        pass
    assert len(cache) > 100
    assert not any(cache.load(p64(number)) for number in range(980, 1000))
    cache.close()


@pytest.mark.parametrize("indexed", [True, False])
def test_what_many_transactions_changed_is_forgotten_for_good(
    tmp_path: Path, not_indexed: None, indexed: bool
) -> None:
    path = str(tmp_path / "cache")
    cache = FileCache(path, 2_000_000)
    for number in range(1000):
        cache.store(p64(number), p64(1), None, b"x" * 300)
    cache.setLastTid(p64(1))
    cache.close()
    cache = FileCache(path, 2_000_000)
    while indexed and cache._index_more():
        pass
    before = cache.used
    cache.forget([p64(number) for number in range(10, 5000)])
    cache.setLastTid(p64(2))
    assert cache._indexed is indexed
    assert cache.used - before < 100_000, "each takes little room"
    cache.close()
    cache = FileCache(path, 2_000_000)
    assert cache.getLastTid() == p64(2)
    while cache._index_more():
        pass
    assert {oid for oid, *_ in cache.revisions()} == {p64(number) for number in range(10)}
    cache.close()


def test_what_was_forgotten_cannot_be_read(tmp_path: Path, not_indexed: None) -> None:
    """Which objects they were is not known; what is in the file must not be used then."""
    path = tmp_path / "cache"
    fill(path)
    cache = FileCache(str(path), 100_000)
    while cache._index_more():
        pass
    cache.forget([p64(3), p64(4)])
    # Far enough from the end that opening does not look at it.
    for number in range(200):
        cache.store(p64(100 + number), p64(2), None, b"x" * 10)
    cache.setLastTid(p64(2))
    cache.close()
    content = bytearray(path.read_bytes())
    place = content.index(p64(3) + p64(4))
    content[place + 7] ^= 1
    path.write_bytes(content)
    cache = FileCache(str(path), 100_000)
    assert cache._file.is_open and not cache._indexed
    while cache._index_more():
        pass
    assert not cache.load(p64(3)) and not cache.load(p64(5))
    assert (tmp_path / "cache.bak1").exists()
    cache.close()


def test_a_damaged_file_is_left_alone_once_it_is_set_aside(
    tmp_path: Path, not_indexed: None
) -> None:
    path = tmp_path / "cache"
    cache = FileCache(str(path), 100_000)
    cache.store(p64(1), p64(1), None, b"precious")
    log = cache._probation.log
    while log.head % log.capacity < log.capacity // 2:
        cache.store(p64(2), p64(log.head), None, b"x" * 50)
    while log.room(0):
        log.note_last_tid(p64(1))
    cache._main.log.note_last_tid(p64(1))
    cache.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"precious") - 30] ^= 1
    path.write_bytes(content)
    cache = FileCache(str(path), 100_000)
    # There is no room for it, the index is needed, and is found to be damaged.
    cache.setLastTid(p64(2))
    assert (tmp_path / "cache.bak1").exists()
    assert not (tmp_path / "cache.bak2").exists()
    # The logs that are not used any more have written nothing into the new file.
    assert [part.log.head for part in cache._parts] == [HEADER, HEADER]
    assert len(path.read_bytes()[4096:].replace(b"\0", b"")) <= 2 * 12
    cache.close()


def test_memory_is_no_substitute_for_a_large_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FileCache(str(tmp_path / "cache"), 20_000_000)

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    for number in range(20):
        cache.store(p64(number), p64(1), None, b"x" * 1_000_000)
    assert 0 < cache.used <= 8 * 1024 * 1024
    cache.close()


def test_damage_is_never_served() -> None:
    records, aside = damage_caches(200)
    assert records and aside


def test_the_lock_file_may_be_removed(tmp_path: Path) -> None:
    """Two caches in one file would ruin it."""
    path = str(tmp_path / "cache")
    cache = FileCache(path)
    (tmp_path / "cache.lock").unlink()
    with pytest.raises(CacheFileError, match="another storage uses this cache file"):
        FileCache(path)
    cache.set_aside()
    (tmp_path / "cache.lock").unlink(missing_ok=True)
    with pytest.raises(CacheFileError, match="another storage uses this cache file"):
        FileCache(path)
    cache.close()
    FileCache(path).close()
