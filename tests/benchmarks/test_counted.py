"""Records that come ahead never cost much: counted, for many ways through many objects."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from ZODB.FileStorage import FileStorage

from benchmarks.counted import Outcome, play
from benchmarks.graphs import fill
from benchmarks.measures.distance import COUNTS, PAGE
from benchmarks.oddgraphs import ODD_WALKS, odd_storage
from benchmarks.stage import MIB
from benchmarks.walks import WALKS

_MS = 0.001
_SMALL = 300_000
_LARGE = 200 * MIB

#: What may come in vain at the beginning: bytes, and round trips.
_TRIAL = 32 * 1024
_TRIAL_TRIPS = 10


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStorage]:
    path = tmp_path_factory.mktemp("counted") / "objects.fs"
    fill(path)
    storage = FileStorage(str(path), read_only=True)
    yield storage
    storage.close()


@pytest.fixture(scope="module")
def odd() -> Any:
    return odd_storage(0.3)


def check(off: Outcome, on: Outcome, round_trip: float) -> None:
    assert on.seconds <= 1.05 * off.seconds + _TRIAL_TRIPS * round_trip
    assert on.received <= 2 * off.received + _TRIAL


@pytest.mark.parametrize("round_trip", [0.05 * _MS, 0.2 * _MS, _MS, 5 * _MS])
@pytest.mark.parametrize("name", WALKS)
def test_walks(storage: FileStorage, name: str, round_trip: float) -> None:
    count = (COUNTS | {"page": PAGE})[name] // 3

    def walk(root: Any) -> None:
        WALKS[name](root, count, 1)

    off, on = (play(storage, walk, round_trip, ahead, 1, _LARGE) for ahead in (False, True))
    check(off, on, round_trip)
    if round_trip < 0.1 * _MS:
        assert on == off


@pytest.mark.parametrize("cache_size", [_SMALL, _LARGE])
@pytest.mark.parametrize("round_trip", [0.2 * _MS, _MS, 5 * _MS])
@pytest.mark.parametrize("name", ODD_WALKS)
def test_odd_walks(odd: Any, name: str, round_trip: float, cache_size: int) -> None:
    def walk(root: Any) -> None:
        ODD_WALKS[name](root, random.Random(1))

    off, on = (play(odd, walk, round_trip, ahead, 1, cache_size) for ahead in (False, True))
    check(off, on, round_trip)


@pytest.mark.parametrize(
    ("name", "most"),
    [("folder", 0.1), ("tree-depth", 0.15), ("tree-breadth", 0.25), ("chain", 0.1)]
    + [("lookups", 0.8), ("catalog", 0.6), ("site", 0.1), ("keys", 0.1)],
)
def test_what_it_saves(storage: FileStorage, name: str, most: float) -> None:
    def walk(root: Any) -> None:
        WALKS[name](root, COUNTS[name], 1)

    off, on = (play(storage, walk, _MS, ahead, 1, _LARGE) for ahead in (False, True))
    assert on.seconds <= most * off.seconds


def test_a_page_that_others_have_shown(storage: FileStorage) -> None:
    def walk(root: Any) -> None:
        WALKS["page"](root, PAGE, 1)

    off, on = (play(storage, walk, _MS, ahead, 3, _LARGE) for ahead in (False, True))
    assert on.seconds <= 0.1 * off.seconds
    assert on.received <= 0.5 * off.received
