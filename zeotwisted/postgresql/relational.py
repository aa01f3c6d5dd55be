"""Which of RelStorage's storages are on PostgreSQL, and where."""

from __future__ import annotations

from typing import Any

__all__ = ["data_source"]


def data_source(storage: Any) -> str | None:
    """Return the data source of a RelStorage on PostgreSQL; None for any other storage."""
    kind = type(storage)
    if not (kind.__module__.partition(".")[0] == "relstorage" and kind.__name__ == "RelStorage"):
        return None
    adapter = getattr(storage, "_adapter", None)
    if not type(adapter).__module__.startswith("relstorage.adapters.postgresql"):
        return None
    dsn = getattr(adapter, "_dsn", None)
    return dsn if isinstance(dsn, str) else None
