"""Which of RelStorage's storages are on PostgreSQL, and where."""

from __future__ import annotations

from typing import Any

from .connecting import careful

__all__ = ["data_source", "make_careful"]


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


def make_careful(storage: Any) -> None:
    """Have RelStorage's connections notice when the other end is gone, as ours do.

    Otherwise, threads may wait for a quarter of an hour for a machine that has lost its power.

    :param storage: one that has a `data_source`, before it makes further connections.
    """
    manager: Any = getattr(getattr(storage, "_adapter", None), "connmanager", None)
    dsn = getattr(manager, "_dsn", None)
    if isinstance(dsn, str):
        # There is no option for it.
        manager._dsn = careful(dsn)
