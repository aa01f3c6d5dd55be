"""Each workload at a distance is done to its end by each contender, and has its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.databases import Databases
from benchmarks.distance import main
from benchmarks.measures.distance import DISTANCE, ROW, USUAL
from benchmarks.recorder import Recorder
from benchmarks.stage import Stage

_SCALE = 0.05
_ROUND_TRIP = 0.001

#: What changes the database brings no record to the client; without a relay nobody counts.
_WRITING = {"shootout-add", "shootout-update"}
_OF_THE_RELAY = {"round trips", "received", "late"}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(tmp_path_factory.mktemp("databases"))


#: Those of our contenders that take part if nobody is named.
_OURS = ["zeotwisted-off", "zeotwisted", "zeotwisted-read-ahead"]

Play = Callable[..., dict[str, float]]


@pytest.fixture
def play(databases: Databases, tmp_path: Path) -> Play:
    def play(
        workload: str, contender: str, round_trip: float | None = _ROUND_TRIP
    ) -> dict[str, float]:
        folder = tmp_path / contender
        folder.mkdir()
        stage = Stage(CONTENDERS[contender], folder, databases, 1, 60, _SCALE, round_trip)
        return DISTANCE[workload].play(stage)

    return play


@pytest.mark.parametrize(
    ("contender", "workload"),
    [
        *((name, workload) for name in ("zeo", "zeotwisted-off") for workload in USUAL),
        *(
            (name, workload)
            for name in ("zeotwisted", "zeotwisted-read-ahead")
            for workload in DISTANCE
        ),
    ],
)
def test_workload(play: Play, contender: str, workload: str) -> None:
    figures = play(workload, contender)
    rows = {figure.name.partition("/")[0] for figure in DISTANCE[workload].figures}
    assert set(figures) == {
        f"{row}/{name}" for row in rows for name in ROW if name != "unused" or row not in _WRITING
    }
    for row in rows:
        assert figures[f"{row}/round trips"] >= 1
        assert figures[f"{row}/received"] > 0
        assert figures[f"{row}/time"] >= figures[f"{row}/round trips"] * _ROUND_TRIP
        assert figures.get(f"{row}/unused", 0) >= 0


@pytest.mark.parametrize("contender", ["zeo", "zeotwisted-off"])
def test_round_trips_are_exact(play: Play, contender: str) -> None:
    figures = play("chain", contender)
    assert figures["chain/round trips"] == 15
    assert figures["chain/unused"] == 0


def test_what_is_read_ahead_saves_round_trips(play: Play) -> None:
    off = play("folder", "zeotwisted-off")["folder/round trips"]
    for contender in ("zeotwisted", "zeotwisted-read-ahead"):
        assert play("folder", contender)["folder/round trips"] < off / 2


def test_what_is_read_ahead_in_vain_is_counted(play: Play) -> None:
    assert play("two", "zeotwisted-read-ahead")["two/unused"] > 0
    assert play("two", "zeotwisted-off")["two/unused"] == 0


def test_without_a_relay(play: Play) -> None:
    figures = play("chain", "zeotwisted", None)
    assert set(figures) == {f"chain/{name}" for name in ROW.keys() - _OF_THE_RELAY}


class Storage:
    """A client's storage in which so many records have come."""

    def __init__(self, stores: int) -> None:
        self._stores = stores

    def cache_statistics(self) -> dict[str, int]:
        return {"stores": self._stores}

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        return None if oid == b"missing" else (b"data", tid, None)


def test_a_record_is_used_once_for_each_revision() -> None:
    recorder = Recorder(Storage(5))
    for oid, tid in ((b"a", b"1"), (b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"missing", b"1")):
        recorder.loadBefore(oid, tid)
    assert recorder.unused() == 2


def test_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--round-trip 0.2 none --rounds 1 --scale 0.02 --workloads chain"
    monkeypatch.setattr("sys.argv", ["distance", *arguments.split()])
    assert main() == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line[:1] == ["chain"]]
    assert [row[1] for row in rows] == 2 * ["zeo", *_OURS]
    # Workload, contender, time, its ratio, round trips, their ratio.
    assert [row[3:6] for row in rows[:1]] == [["1.00", "6", "1.00"]]
    assert rows[1][4:6] == ["6", "1.00"]
    assert len(rows[4]) == len(rows[0]) - 5


def test_a_failure_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "--round-trip 0 --rounds 1 --scale 2 --workloads chain --contenders zeotwisted"
    monkeypatch.setattr("sys.argv", ["distance", *arguments.split()])
    assert main() == 1
    assert "300 objects were seen instead of 600" in capsys.readouterr().out


@pytest.mark.parametrize("round_trip", ["far", "-1", "nan"])
def test_a_distance_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], round_trip: str
) -> None:
    monkeypatch.setattr("sys.argv", ["distance", f"--round-trip={round_trip}"])
    with pytest.raises(SystemExit):
        main()
    assert "--round-trip" in capsys.readouterr().err
