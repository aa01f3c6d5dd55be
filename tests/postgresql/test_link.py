"""A connection that nobody wants any more when it is made."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from zeotwisted.postgresql import link
from zeotwisted.postgresql.link import Link

TIMEOUT = 20


class StoppingReactor:
    """What threads hand over to it is not run any more."""

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None: ...


class Connection:
    def __init__(self) -> None:
        self.closed = Event()

    def close(self) -> None:
        self.closed.set()


def test_it_is_closed_though_the_reactor_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    may_connect = Event()
    connection = Connection()

    def connect(dsn: str, limit: float | None) -> Connection:
        assert may_connect.wait(TIMEOUT)
        return connection

    monkeypatch.setattr(link, "connect", connect)
    made = Link(StoppingReactor(), "dbname=x", (), lambda: None, lambda queries: None)
    made.open()
    made.close()
    may_connect.set()
    assert connection.closed.wait(TIMEOUT)
