"""The trace of a cache, read by ZEO's own scripts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import ZEO.scripts.cache_simul
import ZEO.scripts.cache_stats
from ZODB.utils import p64

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache
from zeotwisted.clientstorage.cache.opening import open_cache
from zeotwisted.clientstorage.cache.trace import TracingCache

from ..support import World, store


def use(cache: TracingCache) -> None:
    """Do everything that a client does."""
    assert cache.load(p64(1)) is None
    cache.store(p64(1), p64(1), None, b"one")
    cache.store(p64(3), p64(1), None, b"")
    cache.setLastTid(p64(1))
    assert cache.load(p64(1)) == (b"one", p64(1))
    assert cache.loadBefore(p64(1), p64(9)) == (b"one", p64(1), None)
    assert cache.loadBefore(p64(2), p64(1)) is None
    assert cache.loadBefore(p64(2), p64(9)) is None
    assert cache.invalidate(p64(1), p64(2))
    cache.changed(p64(2), [p64(2)])
    cache.setLastTid(p64(2))
    assert cache.loadBefore(p64(1), p64(2)) == (b"one", p64(1), p64(2))
    cache.store(p64(4), p64(1), p64(2), b"x" * 9_000_000)
    cache.forget([p64(1)])
    assert len(cache) == 1 and cache.statistics.hits == 3
    cache.close()


@pytest.mark.parametrize("name", ["memory", "file"])
def test_the_scripts_of_zeo_read_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZEO_CACHE_TRACE", str(tmp_path))
    path = None if name == "memory" else str(tmp_path / "cache")
    use(open_cache(path, None, None, "1", 100_000))
    (trace,) = map(str, tmp_path.glob("*.trace"))
    assert path is None or trace == path + ".trace"
    ZEO.scripts.cache_stats.main([trace])
    printed = capsys.readouterr().out
    counts = {}
    for line in printed[printed.index("Function (action)") :].splitlines()[1:]:
        count, code = line.split()[:2]
        counts[int(code, 16)] = int(count)
    assert counts == {
        0x00: 1,
        0x10: 1,
        0x1C: 1,
        0x1E: 1,
        0x20: 2,
        0x22: 2,
        0x24: 1,
        0x26: 1,
        0x52: 2,
        0x54: 1,
    }
    assert "Hit rate:   50.0%" in printed
    ZEO.scripts.cache_simul.main(["--size", "20", trace])
    assert "CircularCacheSimulation" in capsys.readouterr().out


def test_nothing_is_in_the_way_when_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZEO_CACHE_TRACE", raising=False)
    assert type(open_cache(None, None, None, "1", 1000)) is ClientCache
    # As with ZEO, "1" is for files.
    monkeypatch.setenv("ZEO_CACHE_TRACE", "1")
    assert type(open_cache(None, None, None, "1", 1000)) is ClientCache


def test_a_trace_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ZEO_CACHE_TRACE", "1")
    (tmp_path / "cache.trace").mkdir()
    with caplog.at_level(logging.WARNING):
        cache = open_cache(str(tmp_path / "cache"), None, None, "1", 100_000)
    assert type(cache) is FileCache and "not traced" in caplog.text
    cache.close()


def test_a_storage_is_traced(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEO_CACHE_TRACE", "1")
    server = world.server()
    path = tmp_path / "cache"
    storage = world.client(server.address, cache=str(path))
    store(storage, p64(1), b"one")
    assert storage.load(p64(1))[0] == b"one"
    assert storage.cache_statistics()["hits"]
    trace = path.with_name("cache.trace")
    size = trace.stat().st_size
    storage.load(p64(1))
    assert size % 34 == 26 and trace.stat().st_size == size + 34
