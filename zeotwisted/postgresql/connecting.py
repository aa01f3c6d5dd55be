"""The one place where the driver is imported, and where connections are made."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import DriverMissing, Unreachable
from .remedies import remedy

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["careful", "connect", "driver", "lost_connection", "one_line"]

#: What each of our connections has unless the data source says otherwise. A connection whose other
#: end is gone is noticed within about 15 seconds: when it is idle, and when it is not.
_CAREFUL = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}

#: All that we ask for is found by an index. Before a table is analysed, PostgreSQL may prefer to
#: read the whole of it; and compiling a plan takes longer than running it.
_BY_INDEX = "SET enable_seqscan = off; SET jit = off"


def driver() -> ModuleType:
    """Return the module ``psycopg``.

    :raises DriverMissing: it is not installed.
    """
    try:
        import psycopg
    except ImportError as error:
        raise DriverMissing(
            f"psycopg cannot be imported ({one_line(error)}); pip install 'zeotwisted[postgresql]'"
        ) from None
    return psycopg


def careful(dsn: str, **defaults: str) -> str:
    """Return a data source whose connections notice when the other end is gone.

    :param defaults: further values, unless the data source has others.
    :raises DriverMissing: the driver is not installed.
    """
    conninfo = driver().conninfo
    made: str = conninfo.make_conninfo(**{**_CAREFUL, **defaults, **conninfo.conninfo_to_dict(dsn)})
    return made


@cache
def _impatient(seconds: float) -> Any:
    """Return a class of connections that do not wait longer than that for an answer.

    The system notices when the other end is gone, but not when a server hangs.
    """
    psycopg = driver()

    def limited(steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        end = monotonic() + seconds
        try:
            wanted = next(steps)
            while True:
                # The driver goes on some times a second, also if nothing has come.
                ready = yield wanted
                if not ready and monotonic() > end:
                    raise psycopg.OperationalError(f"no answer within {seconds:g} seconds")
                wanted = steps.send(ready)
        except StopIteration as stop:
            return stop.value

    class Impatient(psycopg.Connection):  # type: ignore[name-defined,misc,unused-ignore]
        def wait(self, gen: Any, *args: Any, **arguments: Any) -> Any:
            try:
                return super().wait(limited(gen), *args, **arguments)
            except psycopg.OperationalError:
                # What comes later is for nobody any more.
                if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                    self.pgconn.finish()
                raise

    return Impatient


def connect(dsn: str, limit: float | None = None) -> Connection[Any]:
    """Return a new connection, which commits each statement by itself.

    Nothing is prepared in the server, so that each statement gets a plan for its own arguments.

    :param dsn: the data source, such as ``host=db dbname=zodb``, or a URI.
    :param limit: how long (seconds) a statement may take; the connection is lost then. None: no
        limit.
    :raises DriverMissing: the driver is not installed.
    :raises Unreachable: there is no such server, or it wants no connection.
    """
    psycopg = driver()
    try:
        kind = psycopg.Connection if limit is None else _impatient(limit)
        connection: Connection[Any] = kind.connect(
            careful(dsn, application_name="zeotwisted"), autocommit=True, prepare_threshold=None
        )
        connection.execute(_BY_INDEX)
    except psycopg.Error as error:
        found = remedy(str(error)) or "check the data source, and whether the server runs"
        raise Unreachable(f"cannot connect to PostgreSQL: {one_line(error)}; {found}") from None
    return connection


@contextmanager
def lost_connection() -> Iterator[None]:
    """Translate the driver's errors for a connection that is gone.

    :raises Unreachable: the connection is gone, or the server goes down.
    """
    psycopg = driver()
    try:
        yield
    except psycopg.OperationalError as error:
        if isinstance(error, psycopg.errors.LockNotAvailable | psycopg.errors.QueryCanceled):
            raise
        raise Unreachable(
            f"the connection to PostgreSQL is lost: {one_line(error)}; look into its log"
        ) from None


def one_line(error: BaseException) -> str:
    """Return the text of an error without line breaks, and without a question of the library."""
    text = re.sub(r"Is the server running[^?]*\?", "", str(error))
    return " ".join(text.split()) or type(error).__name__
