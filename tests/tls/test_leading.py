"""A thread reads its answer, and sends, through TLS: the rules are those without it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from tests.clientstorage.support import InThread, World
from tests.ordering.test_leading import (
    Wire,
    storage,
    test_a_thread_reads_the_answers_of_others,
    test_an_answer_of_a_lost_connection_is_not_stored_after_it,
    test_an_exception_is_an_answer,
    test_many_threads_at_once,
    test_news_before_an_answer_is_told_before_it,
    test_news_behind_an_answer_hits_what_was_loaded,
    test_news_comes_while_nobody_waits,
    test_news_stays_in_order,
    test_no_descriptor_is_left_behind,
    test_the_end_of_the_connection_ends_the_wait,
    test_the_thread_that_waits_reads_its_answer,
    test_who_follows_leads_next,
)
from zeotwisted.transport.sockets import bottom

from .certificates import Certificates

__all__ = [
    "storage",
    "test_a_thread_reads_the_answers_of_others",
    "test_an_answer_of_a_lost_connection_is_not_stored_after_it",
    "test_an_exception_is_an_answer",
    "test_many_threads_at_once",
    "test_news_before_an_answer_is_told_before_it",
    "test_news_behind_an_answer_hits_what_was_loaded",
    "test_news_comes_while_nobody_waits",
    "test_news_stays_in_order",
    "test_no_descriptor_is_left_behind",
    "test_the_end_of_the_connection_ends_the_wait",
    "test_the_thread_that_waits_reads_its_answer",
    "test_who_follows_leads_next",
]


def _contexts(certificates: Certificates) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificates.server)
    return server, _client_context(certificates)


def _client_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.authority.file))
    context.load_cert_chain(*certificates.client)
    return context


@pytest.fixture
def wire(certificates: Certificates) -> Iterator[Wire]:
    wire = Wire(_contexts(certificates))
    yield wire
    wire.close()


def test_threads_and_the_reactor_send_in_one_order(
    world: World, certificates: Certificates
) -> None:
    """Long records do not fit into the socket's buffer, so that both have to send.

    Whatever were out of its order would end the connection.
    """
    server = world.server("zeotwisted", *certificates.server_section)
    storage = world.client(server.address, ssl=_client_context(certificates), cache_size=0)
    protocol = storage._link.ready
    bottom(protocol.transport).getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    stop = threading.Event()
    oids = [p64(number) for number in range(1, 4)]
    data = [os.urandom(size) for size in (3_000_000, 100, 70_000)]

    def commit() -> None:
        serials = [z64] * len(oids)
        for _ in range(3):
            txn = TransactionMetaData()
            storage.tpc_begin(txn)
            for oid, serial, record in zip(oids, serials, data, strict=True):
                storage.store(oid, serial, record, "", txn)
            storage.tpc_vote(txn)
            serials = [storage.tpc_finish(txn)] * len(oids)

    def load() -> int:
        loads = 0
        while not stop.is_set():
            storage.ping()
            loads += 1
        return loads

    readers = [InThread(load) for _ in range(3)]
    try:
        InThread(commit).result(60)
    finally:
        stop.set()
    assert all(reader.result() for reader in readers)
    assert storage._link.ready is protocol
    for oid, record in zip(oids, data, strict=True):
        assert storage.load(oid)[0] == record
