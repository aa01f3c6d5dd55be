"""Who commits, when several threads want to."""

from __future__ import annotations

import threading

import pytest

from zeotwisted.clientstorage.commit.transaction import ClientTransaction, CommitGate
from zeotwisted.exceptions import ClientDisconnected

SOON = 20.0


class Entering:
    """A thread that wants to be let in."""

    def __init__(self, gate: CommitGate) -> None:
        self.transaction = ClientTransaction(None)
        self.inside = threading.Event()
        self.error: Exception | None = None
        self._gate = gate
        waiting = len(gate._waiting)
        self._thread = threading.Thread(target=self._enter, daemon=True)
        self._thread.start()
        while len(gate._waiting) == waiting and self._thread.is_alive():
            pass

    def _enter(self) -> None:
        try:
            self._gate.enter(self.transaction)
            self.inside.set()
        except Exception as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(SOON)
        assert not self._thread.is_alive()


def test_who_comes_first_is_let_in_first() -> None:
    gate = CommitGate()
    ours = ClientTransaction(None)
    gate.enter(ours)
    others = [Entering(gate) for _ in range(3)]
    gate.leave(ours)
    # It is the first one's turn, whether it is awake or not: nobody gets in before it.
    again = Entering(gate)
    for entering in (*others, again):
        assert gate.current is entering.transaction
        assert entering.inside.wait(SOON)
        gate.leave(entering.transaction)
    assert gate.current is None


def test_closing_sends_everybody_away() -> None:
    gate = CommitGate()
    gate.enter(ClientTransaction(None))
    others = [Entering(gate) for _ in range(2)]
    gate.close()
    for entering in others:
        entering.join()
        assert type(entering.error) is ClientDisconnected
    with pytest.raises(ClientDisconnected):
        gate.enter(ClientTransaction(None))


def test_who_is_not_inside_cannot_leave() -> None:
    gate = CommitGate()
    ours = ClientTransaction(None)
    gate.enter(ours)
    gate.leave(ClientTransaction(None))
    assert gate.current is ours
