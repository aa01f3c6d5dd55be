"""Nobody is told the outcome of a transaction before it is over."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import newTid, z64

from zeotwisted.protocol.capabilities import TID_AT_VOTE

from .puppets import OID_A, OID_B, Server


def test_vote_tells_the_tid_that_the_transaction_gets() -> None:
    client = Server().client()
    client.begin(1, OID_A)
    _, tid = client.ask("vote", 1)
    assert TID_AT_VOTE in client.protocol._connection.capabilities
    assert client.ask("tpc_finish", 1) == tid
    assert client.ask("tpc_outcome", tid, OID_A) is True
    assert client.ask("tpc_outcome", newTid(tid), OID_A) is False


def test_transaction_that_was_packed_away() -> None:
    """What the server has told others of is committed, even if nothing is left of it."""
    server = Server()
    client = server.client()
    tid = client.commit(1, OID_A)
    server.storage = server.served.storage = MappingStorage()
    assert client.ask("tpc_outcome", tid, OID_A) is True
    assert client.ask("tpc_outcome", newTid(tid), OID_A) is False


def test_storage_that_chooses_tids_itself() -> None:
    class Elsewhere(MappingStorage):
        def tpc_begin(self, transaction: object, tid: bytes | None = None) -> None:
            assert tid is None
            super().tpc_begin(transaction)

    client = Server(Elsewhere()).client()
    client.begin(1, OID_A)
    assert not client.protocol._connection.capabilities
    assert client.ask("vote", 1) == ()


def test_tids_go_forward_when_others_use_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody in the server's process commits after the tid was chosen."""
    server = Server()
    client = server.client()
    choose = server.served.tids.next
    others: list[bytes] = []

    def slowly(last: bytes) -> bytes:
        tid = choose(last)
        if not others:
            txn: Any = TransactionMetaData()
            server.storage.tpc_begin(txn, newTid(tid))
            server.storage.store(OID_B, z64, b"other", "", txn)
            server.storage.tpc_vote(txn)
            others.append(server.storage.tpc_finish(txn))
        return tid

    monkeypatch.setattr(server.served.tids, "next", slowly)
    client.begin(1, OID_A)
    _, tid = client.ask("vote", 1)
    assert tid > others[0]
    assert client.ask("tpc_finish", 1) == tid == server.storage.lastTransaction()


def test_voted_transaction_of_a_lost_client_is_given_up() -> None:
    """The server has not noticed yet that the connection is lost."""
    server = Server()
    ghost, client = server.client(), server.client()
    ghost.begin(1, OID_A)
    _, tid = ghost.ask("vote", 1)
    asked = client.send("tpc_outcome", tid, OID_A)
    assert ghost.dropped
    assert client.received() == [], "it is not over yet"
    # Too late: what a connection says after its end is not looked at.
    ghost.lose()
    assert client.received() == [("reply", asked, False)]
    assert server.served.undecided == {}
    client.commit(2, OID_A)


@pytest.mark.parametrize("lost", [False, True])
def test_transaction_that_is_being_finished_is_waited_for(lost: bool) -> None:
    server = Server()
    ghost, client = server.client(), server.client()
    ghost.begin(1, OID_A)
    _, tid = ghost.ask("vote", 1)
    server.commits.immediate = False
    ghost.send("tpc_finish", 1)
    if lost:
        ghost.lose()
    asked = client.send("tpc_outcome", tid, OID_A)
    assert client.received() == []
    server.commits.work()
    assert client.received() == [
        ("invalidateTransaction", tid, (OID_A,)),
        ("reply", asked, True),
    ]


def test_reader_may_ask() -> None:
    server = Server()
    client, reader = server.client(), server.client(register=False)
    reader.ask("register", "1", True)
    tid = client.commit(1, OID_A)
    assert reader.ask("tpc_outcome", tid, None) is True
