"""Waits for the notifications of commits."""

from __future__ import annotations

import os
import select
import threading
import time
from binascii import hexlify
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .connecting import connect, driver, lost_connection, one_line
from .errors import Deaf, Pooled, PostgreSQLError, Unreachable
from .notices import Notice, parse_notice

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["CHANNEL", "Listener"]

CHANNEL = "zeotwisted"


class Listener:
    """A connection that listens. A notification says that something was committed.

    One thread waits. `wake` and `close` may be called by any thread.

    :param limit: how long (seconds) a statement may take.
    :raises DriverMissing: the driver is not installed.
    :raises Unreachable: there is no such server, or it wants no connection.
    :raises Deaf: the server does not let us listen: it is a standby.
    """

    def __init__(self, dsn: str, limit: float | None = None) -> None:
        self._dsn = dsn
        self._limit = limit
        self._connection: Connection[Any] = connect(dsn, limit)
        psycopg = driver()
        try:
            self._connection.execute(f"LISTEN {CHANNEL}")
        except psycopg.Error as error:
            self._connection.close()
            raise Deaf(
                f"PostgreSQL does not let us listen: {one_line(error)}; use the data source of the "
                "primary server, past a pooler"
            ) from None
        self._waiting = threading.Lock()
        self._notices: list[Notice] = []
        self._closed = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        #: For the end of the pipe that is written to: its number may be another file's soon.
        self._writing = threading.Lock()

    def wait(self, seconds: float) -> list[Notice]:
        """Return the notifications since the last call, or those that come in this time, in order.

        An empty list is returned after this time, and at once after `wake` or `close`.

        :raises Unreachable: the connection is lost. Notifications may be lost, too.
        """
        with self._waiting:
            return self._wait(time.monotonic() + seconds)

    def _wait(self, end: float) -> list[Notice]:
        while not self._closed:
            self._receive()
            if self._notices:
                break
            left = end - time.monotonic()
            if left <= 0 or self._is_woken(left):
                break
        notices, self._notices = self._notices, []
        return notices

    def _is_woken(self, seconds: float) -> bool:
        """Wait for something to read, at most `seconds`; return whether it is a `wake`."""
        # Unlike select(), it takes numbers of files above 1023.
        poll = select.poll()
        poll.register(self._connection.fileno(), select.POLLIN)
        poll.register(self._read, select.POLLIN)
        ready = {number for number, _ in poll.poll(max(1, int(seconds * 1000)))}
        if self._read in ready:
            os.read(self._read, 1024)
            return True
        return False

    def _receive(self) -> list[bytes]:
        """Take what has come; return the payloads."""
        found = []
        with lost_connection():
            self._connection.pgconn.consume_input()
            while (notification := self._connection.pgconn.notifies()) is not None:
                found.append(notification.extra)
        self._notices += filter(None, map(parse_notice, found))
        return found

    def wake(self) -> None:
        """Let the thread that waits go on."""
        with self._writing:
            self._wake()

    def _wake(self) -> None:
        # With thousands in it already, the pipe takes no more; one would do.
        if not self._closed:
            with suppress(BlockingIOError):
                os.write(self._write, b"w")

    def selftest(self, seconds: float = 5.0) -> None:
        """Check that what is notified over another connection arrives here.

        Notifications of commits that come meanwhile are kept for `wait`.

        :raises Deaf: it does not arrive.
        :raises Pooled: it does not arrive, as there is a pooler of transactions between.
        :raises Unreachable: a connection is lost, or cannot be made.
        """
        nonce = hexlify(os.urandom(8))
        with self._waiting:
            other = connect(self._dsn, self._limit)
            try:
                with lost_connection():
                    other.execute("SELECT pg_notify(%s, %s)", (CHANNEL, nonce.decode()))
            finally:
                other.close()
            end = time.monotonic() + seconds
            while nonce not in self._receive():
                left = end - time.monotonic()
                if left <= 0:
                    raise self._why_deaf(seconds)
                if self._closed:
                    raise Unreachable("the listener is closed")
                self._is_woken(left)

    def _why_deaf(self, seconds: float) -> PostgreSQLError:
        with lost_connection():
            row = self._connection.execute("SELECT pg_backend_pid()").fetchone()
        if row is not None and row[0] == self._connection.info.backend_pid:
            return Deaf(
                f"a notification does not arrive within {seconds:g} seconds; look into the log of "
                "PostgreSQL"
            )
        # A pooler has made up the number in the connection.
        return Pooled(
            "the data source leads to a pooler of transactions, such as pgbouncer in its usual "
            "mode, through which RelStorage cannot commit; use that of PostgreSQL itself, or "
            "pool_mode = session"
        )

    def close(self) -> None:
        """Close the connection; who waits returns at once. It may be called again."""
        with self._writing:
            if self._closed:
                return
            self._wake()
            self._closed = True
        with self._waiting:
            self._connection.close()
            os.close(self._read)
            os.close(self._write)
