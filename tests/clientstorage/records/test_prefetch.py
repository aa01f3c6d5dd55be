"""What is asked for ahead of need."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64

from zeotwisted.clientstorage.records.prefetch import Prefetches


class Nothing:
    """Stands in for what the client knows: nothing."""

    def missing(self, oids: list[bytes], tid: bytes) -> list[bytes]:
        return oids

    def loaded_many(self, revisions: Any) -> None: ...


class Server:
    """Stands in for the connection to a server of version 5."""

    is_extended = False

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_all(self, name: str, calls: Any) -> None:
        assert name == "loadBefore"
        self.calls += calls


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_what_does_not_exist_is_asked_for_once(missing: int) -> None:
    server: Any = Server()
    coherence: Any = Nothing()
    oids = [p64(number) for number in range(3)]
    Prefetches(coherence).prefetch(server, oids, maxtid)
    for number, (answer, _) in enumerate(list(server.calls)):
        if number == missing:
            answer.errback(POSKeyError(oids[number]))
        else:
            answer.callback((b"data", maxtid, None))
    assert [arguments[0] for _, arguments in server.calls] == oids
