"""The floor: a client that does nothing but speak the wire protocol on a blocking socket.

It has no cache, no thread and hears no invalidation. What it needs for a call is what the
daemon and the kernel need, so no real client against the same daemon can be much faster.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

__all__ = ["BareStorage"]

_LENGTH = struct.Struct(">I")


class BareStorage:
    """Just enough of a storage for the measures; version 5 with pickles only."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self._socket = socket.create_connection(address, timeout)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Unbuffered reads of exact sizes would need two system calls for each frame.
        self._stream = self._socket.makefile("rb", buffering=65536)
        announced = self._read_frame()
        if announced[:1] != b"Z":
            raise RuntimeError(f"the daemon announces {announced!r}, this client only knows Z")
        self._send_frame(b"Z5")
        self._message_id = 0
        self._oids: list[bytes] = []
        self._last_transaction = self._call("register", "1", False)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def lastTransaction(self) -> bytes:
        tid: bytes = self._last_transaction
        return tid

    def new_oid(self) -> bytes:
        if not self._oids:
            self._oids = list(self._call("new_oids"))
        return self._oids.pop()

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        return self._call("loadBefore", oid, tid)

    def tpc_begin(self, transaction: Any) -> None:
        self._tell(
            "tpc_begin",
            id(transaction),
            transaction.user,
            transaction.description,
            transaction.extension,
            None,
            " ",
        )

    def store(self, oid: bytes, serial: bytes, data: bytes, version: str, transaction: Any) -> None:
        self._tell("storea", oid, serial, data, id(transaction))

    def tpc_vote(self, transaction: Any) -> None:
        if self._call("vote", id(transaction)):
            raise RuntimeError("conflict")

    def tpc_finish(self, transaction: Any) -> bytes:
        tid: bytes = self._call("tpc_finish", id(transaction))
        self._last_transaction = tid
        return tid

    def _tell(self, name: str, *args: Any) -> None:
        self._send_frame(pickle.dumps((0, 1, name, args), 3))

    def _call(self, name: str, *args: Any) -> Any:
        self._message_id += 1
        self._send_frame(pickle.dumps((self._message_id, 0, name, args), 3))
        while True:
            message_id, flag, _name, answer = pickle.loads(self._read_frame())
            if message_id != self._message_id:
                continue  # a keep-alive, or news about the storage that nobody here wants
            if flag:
                raise RuntimeError(f"{name}: {answer!r}")
            return answer

    def _send_frame(self, payload: bytes) -> None:
        self._socket.sendall(_LENGTH.pack(len(payload)) + payload)

    def _read_frame(self) -> bytes:
        (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ConnectionError("the daemon closed the connection")
        return data
