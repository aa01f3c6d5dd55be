"""A client that does not wait for the commit lock for ever."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
from ZODB.utils import z64

from tests.clientstorage.support import World
from zeotwisted.exceptions import TransactionTimeout

OID_A, OID_B = (number.to_bytes(8, "big") for number in (1, 2))


def begin(storage: Any, oid: bytes) -> Any:
    """Begin a transaction that stores an object."""
    txn = transaction.TransactionManager().begin()
    txn.user = "anna"
    storage.tpc_begin(txn)
    storage.store(oid, z64, b"data", "", txn)
    return txn


def test_the_vote_names_who_blocks_it(world: World) -> None:
    server = world.server("zeotwisted")
    blocker = world.client(server.address, client_label="blocker")
    client = world.client(server.address, commit_lock_timeout=0.1)
    first = begin(blocker, OID_A)
    blocker.tpc_vote(first)
    second = begin(client, OID_B)
    with pytest.raises(TransactionTimeout, match=r"which blocker .*user 'anna'.* has held for"):
        client.tpc_vote(second)
    client.tpc_abort(second)
    blocker.tpc_finish(first)
    again = begin(client, OID_B)
    client.tpc_vote(again)
    assert client.tpc_finish(again)


def test_servers_that_cannot_limit_it(world: World) -> None:
    """A server of ZEO lets it wait for as long as it takes."""
    client = world.client(world.server("ZEO").address, commit_lock_timeout=0.1)
    txn = begin(client, OID_A)
    client.tpc_vote(txn)
    assert client.tpc_finish(txn)
