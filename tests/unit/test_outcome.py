"""Who is asked what became of a transaction, and how."""

from __future__ import annotations

from typing import Any

import pytest

from zeotwisted.client.outcome import Traces, committed_tid, marked, without_mark
from zeotwisted.exceptions import ClientDisconnected

TID, EARLIER = b"\0" * 7 + b"\2", b"\0" * 7 + b"\1"
OID = b"\0" * 8


class _Connection:
    """One to a server that has the transactions `tids`.

    :ivar calls: what was called, in its order.
    """

    is_extended = True

    def __init__(self, tells_tids: bool, *tids: bytes) -> None:
        self.tells_tids = tells_tids
        self.calls: list[str] = []
        self._tids = tids
        self._rest = iter(tids)

    def oneway(self, name: str, *args: Any, hold_back: bool = False) -> None:
        self.calls.append(name)

    def ask(self, waiter: Any, name: str, *args: Any, timeout: float) -> Any:
        self.calls.append(name)
        if name == "tpc_outcome":
            return args[0] in self._tids
        if name == "iterator_next":
            tid = next(self._rest, None)
            return None if tid is None else (tid, " ", b"", b"", {})
        return 1 if name == "iterator_start" else None


@pytest.mark.parametrize("committed", [True, False])
def test_server_that_tells_tids_knows(committed: bool) -> None:
    connection: Any = _Connection(True, *([TID] if committed else ()))
    traces = Traces(TID, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: connection, 1) == (TID if committed else None)
    assert connection.calls == ["tpc_outcome"]


@pytest.mark.parametrize("committed", [True, False])
def test_server_that_does_not_is_asked_behind_the_commit_lock(committed: bool) -> None:
    """It is ours, and the tid is known: it was given, or another server has told it."""
    connection: Any = _Connection(False, *([TID] if committed else ()))
    traces = Traces(TID, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: connection, 1) == (TID if committed else None)
    assert connection.calls[:4] == ["tpc_begin", "vote", "tpc_abort", "iterator_start"]


def test_whoever_is_lost_while_it_is_asked_is_followed_by_the_next() -> None:
    class Lost(_Connection):
        def ask(self, *args: Any, **kwargs: Any) -> Any:
            raise ClientDisconnected

    connections: Any = iter([Lost(True), Lost(False), _Connection(True, TID)])
    traces = Traces(TID, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: next(connections), 1) == TID


def test_mark_of_a_client_of_ours_is_passed_on() -> None:
    extension, mark = marked({"key": "value"})
    assert marked(extension) == (extension, mark)
    assert without_mark(extension) == {"key": "value"}
    assert marked({})[1] != mark
