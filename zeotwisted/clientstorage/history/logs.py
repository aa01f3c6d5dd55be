"""What a server says about transactions: histories of objects, and logs of what can be undone.

In version 6 an extension travels as storages keep it, and is loaded here, in the process of the
application that reads it, as it is when that has the storage itself. In version 5 it travels as a
dict. See `zeotwisted.protocol.extensions`; `commit.metadata` has the way to the server.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ZODB._compat import loads

from zeotwisted.exceptions import UnrecognizedResult
from zeotwisted.protocol import Unreadable, described, plain, stored

from ..commit import without_mark

__all__ = ["READERS", "Entry", "entries", "history", "undo_log"]

#: What a storage says of a revision or a transaction, and the stored extension.
Entry: TypeAlias = "tuple[dict[str, Any], bytes]"

#: The keys that storages put beside those of the extension.
_OWN_KEYS = {"id", "time", "tid", "serial", "user_name", "description", "size"}


def _loaded(extension: bytes) -> dict[Any, Any]:
    """Return a stored extension; of objects whose classes are not here there is a description."""
    try:
        return dict(loads(extension)) if extension else {}
    except Exception:
        pass
    try:
        return plain(described(extension), b"Z")
    except Unreadable:
        return {}


def entries(result: Any, name: str, extended: bool) -> list[Entry]:
    """Return entries of a log with their extensions as stored.

    :param result: a server's answer to the call `name`.
    """
    if not extended:
        return [_split(entry) for entry in result]
    try:
        return [(dict(own), bytes(extension)) for own, extension in result]
    except (TypeError, ValueError):
        raise UnrecognizedResult(name, result)


def _split(entry: dict[Any, Any]) -> Entry:
    own = {key: value for key, value in entry.items() if key in _OWN_KEYS}
    rest = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
    return own, stored(rest)


def history(result: Any, extended: bool) -> list[dict[Any, Any]]:
    """Return what a server answers to ``history`` as storages do, for applications."""
    if not extended:
        return [without_mark(entry) for entry in result]
    return [
        {**without_mark(_loaded(extension)), **own}
        for own, extension in entries(result, "history", extended)
    ]


def undo_log(result: Any, extended: bool) -> list[dict[Any, Any]]:
    """Return what a server answers to ``undoLog`` or ``undoInfo`` as storages do."""
    if not extended:
        return [without_mark(entry) for entry in result]
    return [
        {**own, **without_mark(_loaded(extension))}
        for own, extension in entries(result, "undoLog", extended)
    ]


def _transaction(result: Any, extended: bool) -> Any:
    if result is None:
        return None
    try:
        *own, extension = result
        return (*own, without_mark(_loaded(extension) if extended else extension))
    except (TypeError, ValueError, AttributeError):
        raise UnrecognizedResult("iterator_next", result)


#: What makes the same of a call's results in both versions.
READERS = {
    "history": history,
    "undoLog": undo_log,
    "undoInfo": undo_log,
    "iterator_next": _transaction,
}
