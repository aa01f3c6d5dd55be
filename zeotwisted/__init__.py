"""Networked storage for ZODB on Twisted, wire-compatible with ZEO 5 and 6.

`server` and `client` are functions, as in ZEO. The packages `storageserver` and `clientstorage`
implement them. `ClientStorage` is the class. There is also a module of this name, which contains
the class, for imports that were written for ZEO.
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


# The import has set this name to the module. Without it, `__getattr__` returns the class.
del globals()["ClientStorage"]


def __getattr__(name: str) -> Any:
    # Imported late: a server does not need the client.
    if name == "ClientStorage":
        from .clientstorage import ClientStorage

        return ClientStorage
    if name in ("Exceptions", "exceptions"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def client(*args: Any, **kwargs: Any) -> ClientStorage:
    """Return a `ClientStorage` that is created with these arguments.

    :raises ValueError: an argument can never work; the text says what to write instead.
    """
    from .arguments import refuse_unknown
    from .clientstorage import ClientStorage

    refuse_unknown(ClientStorage, "client", kwargs)
    return ClientStorage(*args, **kwargs)


def DB(*args: Any, **kwargs: Any) -> Any:
    """Return a `ZODB.DB` whose `ClientStorage` is created with these arguments.

    Several clients may call this at the same time, even if the database is empty.
    """
    from .clientstorage import open_database

    return open_database(client(*args, **kwargs))


def connection(*args: Any, **kwargs: Any) -> Any:
    """Return a connection of a new `DB` that is created with these arguments.

    Closing the connection closes the `DB`.
    """
    database = DB(*args, **kwargs)
    try:
        return database.open_then_close_db_when_connection_closes()
    except BaseException:
        database.close()
        raise
