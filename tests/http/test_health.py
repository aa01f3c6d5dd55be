"""Health checks."""

from __future__ import annotations

from typing import Any

import pytest

from zeotwisted.storageserver import StandbyReport

from .support import web


def test_live_and_ready() -> None:
    with web() as site:
        for path in ("/live", "/ready"):
            status, headers, body = site.get(path)
            assert (status, body) == (200, f"{path[1:]}\n")
            assert headers["connection"] == "close"
            assert headers["content-type"] == "text/plain; charset=utf-8"


def test_any_name_will_do_for_health_checks() -> None:
    with web() as site:
        assert site.get("/ready", host="zeo.example")[0] == 200


def test_not_ready_while_a_storage_cannot_be_used() -> None:
    with web() as site:
        (served,) = site.served.server.served.values()
        site.served.ask(served.suspend, "the database is away")
        status, _, body = site.get("/ready")
        assert (status, body) == (503, "storage 1: the database is away\n")
        assert site.get("/live")[0] == 200
        site.served.ask(served.resume)
        assert site.get("/ready")[0] == 200
        site.served.ask(served.give_up, "the disk is broken")
        assert site.get("/ready")[2] == "storage 1: the disk is broken\n"


class Follower:
    """Stands for a standby that writes the storage."""

    def __init__(self, lag: float, problem: str = "") -> None:
        self._lag = lag
        self._problem = problem

    def report(self) -> StandbyReport:
        return StandbyReport("zeo1:8100", "copies", self._problem, self._lag, 60.0, "0" * 16)

    def promote(self) -> Any:
        raise NotImplementedError


def test_a_standby_is_ready_if_it_is_not_far_behind() -> None:
    with web() as site:
        (served,) = site.served.server.served.values()
        for follower, expected in (
            (Follower(0.5), "ready\n"),
            (Follower(75.0), "storage 1: the standby is 75 seconds behind its primary\n"),
            (
                Follower(0.0, "other history"),
                "storage 1: the standby cannot follow its primary: other history\n",
            ),
        ):
            site.served.ask(served.follow, follower)
            status, _, body = site.get("/ready")
            assert (status, body) == (200 if body == "ready\n" else 503, expected)
        site.served.ask(served.lead)
        assert site.get("/ready")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "//live", 404),
        ("GET", "/live/", 404),
        ("GET", "/%00", 404),
        ("GET", "/../live", 404),
        ("POST", "/live", 405),
        ("DELETE", "/metrics", 405),
        ("NONSENSE", "/ready", 405),
        ("HEAD", "/live", 200),
    ],
)
def test_what_there_is_not(method: str, path: str, status: int) -> None:
    with web() as site:
        found, headers, body = site.ask(method, path)
        assert found == status
        assert headers["content-type"].startswith("text/plain")
        assert ("allow" in headers) == (status == 405)
        if method == "HEAD":
            assert not body
