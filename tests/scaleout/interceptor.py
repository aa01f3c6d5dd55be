"""What stands before PostgreSQL, and ends a backend, or a daemon, at a certain statement."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from zeotwisted.postgresql import connect

from .door import Door, connected, pieces

__all__ = ["Interceptor", "Trap", "When"]

#: How long (seconds) something may take that has to happen.
_TIMEOUT = 30.0

#: The end of an answer: PostgreSQL is ready for the next statement.
_READY = b"Z\0\0\0\5"


class When(Enum):
    """When it happens to a statement."""

    #: The statement does not arrive.
    BEFORE = "before"
    #: It waits for a lock, which somebody else has.
    WITHIN = "within"
    #: It is done, and its answer does not arrive.
    AFTER = "after"


@dataclass
class Trap:
    """What happens once.

    :ivar text: is in the statement.
    :ivar do: what happens, with the number of the backend.
    :ivar sprung: is set when it has happened.
    """

    text: bytes
    when: When
    do: Callable[[int], object]
    sprung: threading.Event = field(default_factory=threading.Event)


class Interceptor:
    """Passes on all connections to a server, and looks at the statements.

    :param port: of the server, at 127.0.0.1.
    :param dsn: how to end a backend: reaches the server, not through this.
    :ivar port: of this.
    """

    def __init__(self, port: int, dsn: str) -> None:
        self._target = port
        self._dsn = dsn
        self._trap: Trap | None = None
        self._lock = threading.Lock()
        self._door = Door(self._serve)
        self.port = self._door.port

    def set(self, text: str, when: When, do: Callable[[int], object] | None = None) -> Trap:
        """Set a trap, in the place of the one before. The daemon's connection ends after it.

        :param text: is in the statement.
        :param do: what happens, with the number of the backend; by default, the backend ends.
        """
        self._trap = trap = Trap(text.encode(), when, do or self._terminate)
        return trap

    def _terminate(self, pid: int) -> None:
        with closing(connect(self._dsn)) as connection:
            _row(connection, "SELECT pg_terminate_backend(%s, 10000)", pid)

    def close(self) -> None:
        """Make no more connections; those that are made end with their ends."""
        self._door.close()

    def _serve(self, client: socket.socket) -> None:
        messages = _Messages()
        with connected(self._target) as server:
            for source, data in pieces(client, server):
                if source is server:
                    client.sendall(data)
                    continue
                trap = self._sprung(messages.complete(data))
                if trap is not None:
                    self._spring(trap, data, server)
                    return
                server.sendall(data)

    def _sprung(self, messages: Iterator[bytes]) -> Trap | None:
        found = None
        for message in messages:
            with self._lock:
                if self._trap is not None and self._trap.text in message:
                    found, self._trap = self._trap, None
        return found

    def _spring(self, trap: Trap, data: bytes, server: socket.socket) -> None:
        """Do what happens; the caller ends the daemon's connection."""
        with closing(connect(self._dsn)) as connection:
            (pid,) = _row(
                connection,
                "SELECT pid FROM pg_stat_activity WHERE client_port = %s",
                server.getsockname()[1],
            )
            if trap.when is not When.BEFORE:
                server.sendall(data)
            if trap.when is When.WITHIN:
                while not _row(connection, "SELECT cardinality(pg_blocking_pids(%s))", pid)[0]:
                    pass
        if trap.when is When.AFTER:
            server.settimeout(_TIMEOUT)
            answer = b""
            while _READY not in answer:
                answer += server.recv(65536)
        trap.do(pid)
        trap.sprung.set()


def _row(connection: Any, statement: str, *arguments: object) -> Any:
    return connection.execute(statement, arguments).fetchone()


class _Messages:
    """Finds the messages in what a client sends."""

    def __init__(self) -> None:
        self._buffer = b""
        # The first messages have no kind. The last one of them has the version of the protocol.
        self._begins = True

    def complete(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that are complete now."""
        self._buffer += data
        while True:
            start = 0 if self._begins else 1
            if len(self._buffer) < start + 4:
                return
            end = start + int.from_bytes(self._buffer[start : start + 4], "big")
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            if self._begins:
                self._begins = message[4:8] != b"\0\3\0\0"
            yield message
