"""The server as a service in somebody's Twisted application."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import blockingCallFromThread
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

import zeotwisted
from zeotwisted.reactor.thread import ReactorThread
from zeotwisted.storageserver.service import ListeningError, StorageServer


def test_in_an_application_of_its_own(tmp_path: Path) -> None:
    """Two storages, two addresses, and the storages are closed at the end."""
    thread = ReactorThread("test")
    thread.start()
    reactor = thread.reactor
    application = MultiService()
    storages = {"main": FileStorage(str(tmp_path / "Data.fs")), "temp": MappingStorage()}
    server = StorageServer(reactor, storages)
    for number in range(2):
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        server.listen(endpoint, f"port {number}")
    server.setServiceParent(application)
    blockingCallFromThread(reactor, application.startService)
    try:
        addresses = blockingCallFromThread(reactor, server.addresses)
        assert len(addresses) == 2 and all(isinstance(a, IPv4Address) for a in addresses)
        for address in addresses:
            for name in storages:
                db = zeotwisted.DB((address.host, address.port), storage=name)
                with db.transaction() as connection:
                    root = connection.root()
                    root["count"] = root.get("count", 0) + 1
                    assert root["count"] == addresses.index(address) + 1
                db.close()
    finally:
        blockingCallFromThread(reactor, application.stopService)
        thread.stop()
    FileStorage(str(tmp_path / "Data.fs")).close()


def test_all_addresses_or_none() -> None:
    thread = ReactorThread("test")
    thread.start()
    reactor = thread.reactor
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = StorageServer(reactor, {"1": MappingStorage()})
        for port in (0, taken.getsockname()[1]):
            endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
            server.listen(endpoint, f"port {port}")
        with pytest.raises(ListeningError, match=f"port {taken.getsockname()[1]}"):
            blockingCallFromThread(reactor, server.startService)
        readers = blockingCallFromThread(reactor, reactor.getReaders)
        assert [reader for reader in readers if hasattr(reader, "factory")] == []
        blockingCallFromThread(reactor, server.stopService)
    thread.stop()
