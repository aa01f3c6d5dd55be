"""The one place where the driver is imported, and where connections are made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import DriverMissing, Unreachable

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["connect", "driver", "lost_connection", "one_line"]

#: What each of our connections has unless the data source says otherwise. A connection whose other
#: end is gone is noticed within about 15 seconds: when it is idle, and when it is not.
_CAREFUL = {
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
    "application_name": "zeotwisted",
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


def connect(dsn: str) -> Connection[Any]:
    """Return a new connection, which commits each statement by itself.

    Nothing is prepared in the server, so that each statement gets a plan for its own arguments.

    :param dsn: the data source, such as ``host=db dbname=zodb``, or a URI.
    :raises DriverMissing: the driver is not installed.
    :raises Unreachable: there is no such server, or it wants no connection.
    """
    psycopg = driver()
    try:
        given = psycopg.conninfo.conninfo_to_dict(dsn)
        connection: Connection[Any] = psycopg.connect(
            **{**_CAREFUL, **given}, autocommit=True, prepare_threshold=None
        )
        connection.execute(_BY_INDEX)
    except psycopg.Error as error:
        raise Unreachable(
            f"cannot connect to PostgreSQL: {one_line(error)}; check the data source, and whether "
            "the server runs"
        ) from None
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
