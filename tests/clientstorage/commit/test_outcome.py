"""Who is asked what became of a transaction, and how."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB._compat import loads

from zeotwisted.clientstorage.commit.outcome import (
    Traces,
    committed_tid,
    mark_of,
    marked,
    marked_stored,
    stored_without_mark,
    without_mark,
)
from zeotwisted.exceptions import ClientDisconnected, CommitInDoubt
from zeotwisted.protocol.extensions import stored

TID, EARLIER = b"\0" * 7 + b"\2", b"\0" * 7 + b"\1"
OID = b"\0" * 8


class _Connection:
    """One to a server that has the transactions `tids`.

    :ivar calls: what was called, in its order.
    """

    is_extended = True
    tells_marks = False
    is_shared = False

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
    traces = Traces(TID, None, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: connection, 1) == (TID if committed else None)
    assert connection.calls == ["tpc_outcome"]


@pytest.mark.parametrize("committed", [True, False])
def test_server_that_does_not_is_asked_behind_the_commit_lock(committed: bool) -> None:
    """It is ours, and the tid is known: it was given, or another server has told it."""
    connection: Any = _Connection(False, *([TID] if committed else ()))
    traces = Traces(TID, None, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: connection, 1) == (TID if committed else None)
    assert connection.calls[:4] == ["tpc_begin", "vote", "tpc_abort", "iterator_start"]


def test_whoever_is_lost_while_it_is_asked_is_followed_by_the_next() -> None:
    class Lost(_Connection):
        def ask(self, *args: Any, **kwargs: Any) -> Any:
            raise ClientDisconnected

    connections: Any = iter([Lost(True), Lost(False), _Connection(True, TID)])
    traces = Traces(TID, None, None, EARLIER, OID, "", "")
    assert committed_tid(traces, lambda timeout: next(connections), 1) == TID


def test_mark_of_a_client_of_ours_is_passed_on() -> None:
    extension, mark = marked({"key": "value"})
    assert marked(extension) == (extension, mark)
    assert without_mark(extension) == {"key": "value"}
    assert marked({})[1] != mark


@pytest.mark.parametrize("extension", [{}, {"key": ["value", {1}]}])
def test_mark_in_a_stored_extension(extension: dict[Any, Any]) -> None:
    """What an application has written comes back byte for byte."""
    plain = stored(extension)
    with_mark, mark = marked_stored(plain)
    assert mark is not None
    assert loads(with_mark) == extension | {"zeotwisted.mark": mark}
    assert mark_of(with_mark) == mark and mark_of(plain) is None
    assert marked_stored(with_mark) == (with_mark, mark)
    assert stored_without_mark(with_mark) == plain == stored_without_mark(plain)


@pytest.mark.parametrize("extension", [{}, {"key": ["value", {1}]}])
def test_mark_that_a_server_of_version_5_has_stored(extension: dict[Any, Any]) -> None:
    with_mark, mark = marked(extension)
    assert mark_of(with_mark) == mark == mark_of(stored(with_mark))
    assert stored_without_mark(stored(with_mark)) == stored(extension)


def test_pickle_with_a_mark_that_cannot_be_read() -> None:
    broken = b"\x80\x03}X\x0f\0\0\0zeotwisted.mark"
    assert mark_of(broken) is None
    assert stored_without_mark(broken) == broken


@pytest.mark.parametrize("room", [0, 1, 40, 57])
def test_no_room_for_a_mark(room: int) -> None:
    """A FileStorage takes 65535 bytes, and they are the application's."""
    extension = {"key": "x" * 65000}
    extension["key"] += "x" * (65535 - room - len(stored(extension)))
    assert marked(extension) == (extension, None)
    assert marked_stored(stored(extension)) == (stored(extension), None)


def test_room_for_a_mark() -> None:
    extension = {"key": "x" * 65400}
    with_mark, mark = marked(extension)
    assert mark is not None and len(stored(with_mark)) <= 65535
    assert marked_stored(stored(extension))[1] is not None


def test_nothing_to_know_it_by() -> None:
    """Nobody is asked: no answer would mean that it is not committed."""
    connection: Any = _Connection(False)
    with pytest.raises(CommitInDoubt, match="no room for a mark"):
        committed_tid(Traces(None, None, None, EARLIER, OID, "", ""), lambda timeout: connection, 1)
    assert connection.calls == []
