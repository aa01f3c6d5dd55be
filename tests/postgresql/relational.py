"""RelStorage on a database, used without ZODB's connections."""

from __future__ import annotations

from typing import Any

from relstorage.adapters.postgresql import PostgreSQLAdapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.Connection import TransactionMetaData

__all__ = ["begun", "commit", "open_relstorage", "voted"]


def open_relstorage(dsn: str, keep_history: bool, **options: Any) -> Any:
    """Open a storage, which makes its tables if there are none."""
    options.setdefault("driver", "psycopg2")
    chosen = Options(keep_history=keep_history, cache_local_mb=1, **options)
    return RelStorage(PostgreSQLAdapter(dsn=dsn, options=chosen), options=chosen)


def begun(storage: Any) -> Any:
    """Begin a transaction; return it."""
    transaction = TransactionMetaData("user", "description")
    storage.tpc_begin(transaction)
    return transaction


def voted(storage: Any, records: dict[bytes, tuple[bytes, bytes]]) -> Any:
    """Begin a transaction, store and vote; return it.

    :param records: for each oid, the tid of its last revision and the new data.
    """
    transaction = begun(storage)
    for oid, (serial, data) in records.items():
        storage.store(oid, serial, data, "", transaction)
    storage.tpc_vote(transaction)
    return transaction


def commit(storage: Any, records: dict[bytes, tuple[bytes, bytes]]) -> bytes:
    """Commit all that; return the tid."""
    tid: bytes = storage.tpc_finish(voted(storage, records))
    return tid
