"""A server tells of its beginning and its end by ZODB's events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zope.event

import zeotwisted
from zeotwisted.interfaces import Closed, Serving


@pytest.fixture
def events() -> Iterator[list[Any]]:
    seen: list[Any] = []

    def subscriber(event: Any) -> None:
        if isinstance(event, (Serving, Closed)):
            seen.append(event)

    zope.event.subscribers.append(subscriber)
    yield seen
    zope.event.subscribers.remove(subscriber)


@pytest.mark.parametrize("kind", ["TCP", "Unix"])
def test_serving_and_closed(events: list[Any], tmp_path: Path, kind: str) -> None:
    settings = {} if kind == "TCP" else {"address": str(tmp_path / "zeo.sock")}
    address, stop = zeotwisted.server(zeo_conf=settings)
    (serving,) = events
    assert type(serving) is Serving
    assert serving.address == address
    stop()
    _, closed = events
    assert type(closed) is Closed
    assert closed.server is serving.server


def test_events_go_where_the_application_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("ZODB.event.notify", seen.append)
    address, stop = zeotwisted.server()
    stop()
    serving, closed = (event for event in seen if isinstance(event, (Serving, Closed)))
    assert serving.address == address and closed.server is serving.server


def test_a_subscriber_that_fails(events: list[Any]) -> None:
    def fail(event: Any) -> None:
        raise RuntimeError("the application's mistake")

    zope.event.subscribers.insert(0, fail)
    try:
        address, stop = zeotwisted.server()
        client = zeotwisted.client(address, wait=False)
        zope.event.subscribers.remove(fail)
        assert client.ping() is None
        client.close()
        zope.event.subscribers.insert(0, fail)
        stop()
    finally:
        zope.event.subscribers.remove(fail)
    assert events == []


def test_a_server_that_cannot_listen_tells_nothing(events: list[Any], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="does not exist"):
        zeotwisted.server(zeo_conf={"address": str(tmp_path / "no" / "zeo.sock")})
    assert events == []
