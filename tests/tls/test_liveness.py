"""Peers that vanish behind TLS."""

from __future__ import annotations

import socket

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from tests.clientstorage.support import InThread, World, store
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.transport.sockets import bottom

from .certificates import Certificates
from .test_pairs import OID, context

#: The silence (seconds) that these tests allow.
TIMEOUT = 3.0


def test_server_that_vanishes(world: World, certificates: Certificates) -> None:
    server = world.server("zeotwisted", *certificates.server_section)
    proxy = world.proxy(server)
    storage = world.client(
        proxy.address,
        ssl=context(certificates, certificates.client),
        liveness_timeout=TIMEOUT,
    )
    tid = store(storage, OID, b"data")
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        handle = bottom(storage._link.protocol().transport).getHandle()
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
    proxy.silence()
    with pytest.raises(ClientDisconnected, match="nothing was heard"):
        InThread(storage.getTid, OID).result()
    assert storage.getTid(OID) == tid


def test_client_that_vanishes(world: World, certificates: Certificates) -> None:
    server = world.server("zeotwisted", *certificates.server_section, f"client-timeout {TIMEOUT}")
    proxy = world.proxy(server)
    tls = context(certificates, certificates.client)
    vanishing = world.client(proxy.address, ssl=tls)
    txn = TransactionMetaData()
    vanishing.tpc_begin(txn)
    vanishing.store(OID, z64, b"lost", "", txn)
    vanishing.tpc_vote(txn)
    proxy.silence()
    other = world.client(server.address, ssl=tls)
    tid = InThread(store, other, OID, b"data").result()
    assert other.load(OID) == (b"data", tid)
