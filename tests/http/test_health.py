"""Health checks."""

from __future__ import annotations

import pytest

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
