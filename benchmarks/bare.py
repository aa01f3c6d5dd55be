"""The floor: a client that does nothing but speak the wire protocol on a blocking socket.

It has no cache, no thread and hears no invalidation. What it needs for a call is what the
daemon and the kernel need, so no real client against the same daemon can be much faster.
"""

from __future__ import annotations

import pickle
import socket
import ssl
import struct
from typing import Any

import msgpack
from ZODB.Connection import TransactionMetaData

__all__ = ["BareStorage", "codec", "frame"]

_LENGTH = struct.Struct(">I")


class _Pickle:
    """What a stock daemon speaks unless it is told otherwise."""

    @staticmethod
    def dumps(message: tuple[Any, ...]) -> bytes:
        return pickle.dumps(message, 3)

    loads = staticmethod(pickle.loads)


class _Msgpack:
    dumps = staticmethod(msgpack.packb)

    @staticmethod
    def loads(data: bytes) -> Any:
        return msgpack.unpackb(data, use_list=False, strict_map_key=False)


def codec(announced: bytes) -> tuple[bytes, Any]:
    """Return what to answer to a daemon's handshake, and what encodes and decodes then.

    A daemon that knows version 6 knows msgpack, which is cheaper, in version 5 as well.
    """
    if announced in (b"Z6", b"M6", b"M5"):
        return b"M5", _Msgpack
    if announced == b"Z5":
        return b"Z5", _Pickle
    raise RuntimeError(f"the daemon announces {announced!r}")


def frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


class BareStorage:
    """Just enough of a storage for the measures."""

    def __init__(
        self, address: tuple[str, int], timeout: float, context: ssl.SSLContext | None = None
    ) -> None:
        self._socket = socket.create_connection(address, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=address[0])
        self._socket.settimeout(None)
        # Unbuffered reads of exact sizes would need two system calls for each frame.
        self._stream = self._socket.makefile("rb", buffering=65536)
        answer, self._codec = codec(self._read_frame())
        self._socket.sendall(frame(answer))
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
            transaction.user.decode(),
            transaction.description.decode(),
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

    def send_commit(self, serials: dict[bytes, bytes], data: bytes) -> None:
        """Vote, and ask for the end of a transaction without waiting for it."""
        transaction = TransactionMetaData()
        self.tpc_begin(transaction)
        for oid, serial in serials.items():
            self.store(oid, serial, data, "", transaction)
        self.tpc_vote(transaction)
        self._send_call("tpc_finish", id(transaction))

    def receive_commit(self) -> bytes:
        """Return the tid of the transaction, when it is done."""
        tid: bytes = self._receive_answer("tpc_finish")
        return tid

    def _tell(self, name: str, *args: Any) -> None:
        self._socket.sendall(frame(self._codec.dumps((0, 1, name, args))))

    def _call(self, name: str, *args: Any) -> Any:
        self._send_call(name, *args)
        return self._receive_answer(name)

    def _send_call(self, name: str, *args: Any) -> None:
        self._message_id += 1
        self._socket.sendall(frame(self._codec.dumps((self._message_id, 0, name, args))))

    def _receive_answer(self, name: str) -> Any:
        while True:
            message_id, flag, _name, answer = self._codec.loads(self._read_frame())
            if message_id != self._message_id:
                continue  # a keep-alive, or news about the storage that nobody here wants
            if flag:
                raise RuntimeError(f"{name}: {answer!r}")
            return answer

    def _read_frame(self) -> bytes:
        (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ConnectionError("the daemon closed the connection")
        return data
