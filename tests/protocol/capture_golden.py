"""Make ``golden/messages.json`` again from an installed ZEO.

Run as ``python -m tests.protocol.capture_golden`` in the folder above ``tests``; it needs ``ZEO``
and ``ZopeUndo``. Two kinds of bytes are stored. ``messages`` come straight from ZEO's encoder, one
for each call, answer, push and exception. ``sessions`` were recorded between ZEO's client and
ZEO's server, so they show what is really sent, and in which order.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden" / "messages.json"


def capture_messages() -> list[dict[str, Any]]:
    from ZEO.asyncio.marshal import encoder

    from . import examples

    result = []
    for protocol in ("Z5", "M5"):
        for side, name, message in examples.messages():
            if protocol == "M5" and examples.only_pickle(name):
                continue
            # The server's encoder also knows exceptions; for all else there is no difference.
            encode = encoder(protocol.encode(), side == "server")
            result.append(
                {"protocol": protocol, "name": name, "side": side, "bytes": encode(*message).hex()}
            )
        for name, error in examples.exceptions():
            result.append(
                {
                    "protocol": protocol,
                    "name": name,
                    "side": "server",
                    "bytes": encoder(protocol.encode(), True)(
                        7, 2, ".reply", _reduced(error)
                    ).hex(),
                }
            )
    return result


def _reduced(error: Exception) -> Any:
    from ZEO.asyncio.marshal import reduce_exception

    return reduce_exception(error)


class Recorder:
    """Pass a connection through and keep the frames of both directions, in the order of arrival."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self._target = target
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._target)
        self._sockets = [client, server]
        for side, source, sink in (("client", client, server), ("server", server, client)):
            threading.Thread(target=self._copy, args=(side, source, sink), daemon=True).start()

    def _copy(self, side: str, source: socket.socket, sink: socket.socket) -> None:
        stream = source.makefile("rb")
        try:
            while len(header := stream.read(4)) == 4:
                payload = stream.read(struct.unpack(">I", header)[0])
                with self._lock:
                    self.frames.append((side, payload))
                sink.sendall(header + payload)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


def capture_session(protocol: str) -> list[list[str]]:
    """Record a client that uses everything which a plain storage offers."""
    import transaction
    import ZEO
    from persistent.mapping import PersistentMapping
    from ZEO.StorageServer import StorageServer
    from ZODB.blob import Blob, BlobStorage
    from ZODB.FileStorage import FileStorage
    from ZopeUndo.Prefix import Prefix

    with tempfile.TemporaryDirectory() as folder:
        storage = BlobStorage(f"{folder}/blobs", FileStorage(f"{folder}/data.fs"))
        server = StorageServer(("127.0.0.1", 0), {"1": storage}, msgpack=protocol[0] == "M")
        server.start_thread()
        recorder = Recorder(server.addr)
        db = ZEO.DB(
            recorder.address,
            client_label="golden",
            blob_dir=f"{folder}/cache",
            shared_blob_dir=False,
        )
        client = db.storage
        try:
            with db.transaction("first") as connection:
                connection.root()["map"] = PersistentMapping(a=1)
            with db.transaction("second") as connection:
                transaction.get().setUser("admin", "/acl_users")
                transaction.get().setExtendedInfo("source", "golden")
                connection.root()["blob"] = Blob(b"some bytes")
                connection.root()["map"]["a"] = 2
            connection = db.open()
            blob = connection.root()["blob"]
            blob._p_activate()
            oid, serial = blob._p_oid, blob._p_serial
            client.loadSerial(oid, serial)
            client.getTid(oid)
            client.history(oid, 2)
            client.record_iternext()
            client.server_status()
            client.ping()
            client.undoLog(0, 5)
            specification = {"user_name": Prefix("/acl_users")} if protocol == "Z5" else None
            # A stock server fails here: it has the user as bytes, and Prefix compares strings only.
            with contextlib.suppress(TypeError):
                client.undoInfo(0, 5, specification)
            for record in client.iterator():
                list(record)
            shutil.rmtree(f"{folder}/cache")
            client.fshelper.create()
            client.loadBlob(oid, serial)
            with contextlib.suppress(KeyError):
                client.loadBefore(b"\0" * 7 + b"\x63", serial)
            with contextlib.suppress(KeyError):
                client.getTid(b"\0" * 7 + b"\x63")
            connection.close()
            client.pack()
        finally:
            db.close()
            server.close()
            recorder.close()
    return [[side, payload.hex()] for side, payload in recorder.frames]


def main() -> None:
    golden = {
        "messages": capture_messages(),
        "sessions": {protocol: capture_session(protocol) for protocol in ("Z5", "M5")},
    }
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
