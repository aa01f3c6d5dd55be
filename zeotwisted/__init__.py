"""Networked storage for ZODB on Twisted, wire-compatible with ZEO 5 and 6.

`server` and `client` are functions, as in ZEO; the packages behind them are `storageserver` and
`clientstorage`. `ClientStorage` is the class, and also a module that has it, for imports that were
written for ZEO.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import ClientStorage as _client_storage_module  # noqa: F401
from .localserver import server
from .version import __version__

if TYPE_CHECKING:
    from .clientstorage import ClientStorage

__all__ = ["DB", "ClientStorage", "__version__", "client", "connection", "server"]


# From here on, the name is the class: see `__getattr__`.
del globals()["ClientStorage"]


def __getattr__(name: str) -> Any:
    # A daemon has no use for the client.
    if name == "ClientStorage":
        from .clientstorage import ClientStorage

        return ClientStorage
    if name in ("Exceptions", "exceptions"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def client(*args: Any, **kwargs: Any) -> ClientStorage:
    """Return a `ClientStorage`, made with these arguments.

    :raises ValueError: an argument can never work; the text says what to write instead.
    """
    from .arguments import refuse_unknown
    from .clientstorage import ClientStorage

    refuse_unknown(ClientStorage, "client", kwargs)
    return ClientStorage(*args, **kwargs)


def DB(*args: Any, **kwargs: Any) -> Any:
    """Return a `ZODB.DB` on a `ClientStorage`, which is made with these arguments.

    Many clients may do so at the same time, also when the database is empty.
    """
    from .clientstorage import open_database

    return open_database(client(*args, **kwargs))


def connection(*args: Any, **kwargs: Any) -> Any:
    """Return a connection of a new `DB`, made with these arguments, which is closed with it."""
    database = DB(*args, **kwargs)
    try:
        return database.open_then_close_db_when_connection_closes()
    except BaseException:
        database.close()
        raise
