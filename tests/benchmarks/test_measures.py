"""Each measure plays to its end and yields its figures; how large they are does not matter here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.databases import Databases
from benchmarks.makes import TLS, missing
from benchmarks.measures import MEASURES
from benchmarks.measures.exercise import EXERCISES
from benchmarks.stage import RunFailed, Stage

_ALL = MEASURES | EXERCISES

_SCALE = 0.005

#: They differ from others by numbers only.
_LIKE_OTHERS = {
    "blobsdown",
    "blobsup",
    "commit20",
    "committers16",
    "committers8",
    "shared1",
    "shared16",
}


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(tmp_path_factory.mktemp("databases"))


@pytest.fixture
def play(databases: Databases, tmp_path: Path) -> Iterator[object]:
    def play(measure: str, contender: str) -> Stage:
        stage = Stage(CONTENDERS[contender], tmp_path, databases, 1, 60, _SCALE)
        figures = _ALL[measure].play(stage)
        assert set(figures) == {figure.name for figure in _ALL[measure].figures}
        assert min(figures.values()) >= 0
        return stage

    return play


@pytest.mark.parametrize("measure", [name for name in MEASURES if name not in _LIKE_OTHERS])
def test_measure(play, measure: str) -> None:
    stage = play(measure, "zeotwisted")
    assert stage.usage.server_peak > 0
    assert stage.usage.client_peak > 0


@pytest.mark.parametrize(
    ("measure", "contender"),
    [
        ("mixed", "zeo"),
        ("commit3", "bare"),
        ("commit3", "bare-zeo"),
        ("commit3", "file"),
        ("crowd", "zeo"),
        ("exercise2", "zeotwisted"),
    ],
)
def test_contender(play, measure: str, contender: str) -> None:
    play(measure, contender)


@pytest.mark.skipif(missing("relstorage") is not None, reason="there is no PostgreSQL")
def test_relstorage(play) -> None:
    play("committers4", "relstorage")


@pytest.mark.parametrize(
    ("measure", "contender"), [("load", "zeotwisted"), ("load", "bare"), ("crowd", "zeotwisted")]
)
def test_tls(play, monkeypatch: pytest.MonkeyPatch, measure: str, contender: str) -> None:
    monkeypatch.setenv(TLS, "yes")
    play(measure, contender)


def test_a_failure_names_the_exception(databases: Databases, tmp_path: Path) -> None:
    stage = Stage(CONTENDERS["bare"], tmp_path, databases, 1, 60, _SCALE)
    with pytest.raises(RunFailed, match=r"client0: AttributeError: .*prefetch"):
        MEASURES["prefetch"].play(stage)
