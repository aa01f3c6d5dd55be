"""Decodes the history of objects and the undo logs that a server sends.

Version 6 sends an extension in its stored form. It is unpickled here, in the application's process,
as with a storage without a server. Version 5 sends a dict. See `zeotwisted.protocol.extensions`.
`commit.metadata` encodes them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ZODB._compat import loads

from zeotwisted.exceptions import UnrecognizedResult
from zeotwisted.protocol import Unreadable, described, plain, stored

from ..commit import without_mark

__all__ = ["READERS", "Entry", "entries", "history", "loaded_extension", "undo_log"]

#: A storage's description of a revision or a transaction, and the stored extension.
Entry: TypeAlias = "tuple[dict[str, Any], bytes]"

#: The keys that storages add to those of the extension.
_OWN_KEYS = {"id", "time", "tid", "serial", "user_name", "description", "size"}


def loaded_extension(extension: bytes) -> dict[Any, Any]:
    """Unpickle a stored extension. If a class is missing here, return descriptions of objects."""
    try:
        return dict(loads(extension)) if extension else {}
    except Exception:
        pass
    try:
        return plain(described(extension), b"Z")
    except Unreadable:
        return {}


def entries(result: Any, name: str, extended: bool) -> list[Entry]:
    """Return the entries of a log with their extensions in the stored form.

    :param result: a server's answer to the call `name`.
    :param extended: whether the answer has the format of version 6.
    :raises UnrecognizedResult: it has not.
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
    """Return a server's answer to ``history`` in the format of ZODB's storages."""
    if not extended:
        return [without_mark(entry) for entry in result]
    return [
        {**without_mark(loaded_extension(extension)), **own}
        for own, extension in entries(result, "history", extended)
    ]


def undo_log(result: Any, extended: bool) -> list[dict[Any, Any]]:
    """Return a server's answer to ``undoLog`` or ``undoInfo`` in the format of ZODB's storages."""
    if not extended:
        return [without_mark(entry) for entry in result]
    return [
        {**own, **without_mark(loaded_extension(extension))}
        for own, extension in entries(result, "undoLog", extended)
    ]


def _transaction(result: Any, extended: bool) -> Any:
    if result is None:
        return None
    try:
        *own, extension = result
        return (*own, without_mark(loaded_extension(extension) if extended else extension))
    except (TypeError, ValueError, AttributeError):
        raise UnrecognizedResult("iterator_next", result)


#: By call: a function that decodes the answer of either version.
READERS = {
    "history": history,
    "undoLog": undo_log,
    "undoInfo": undo_log,
    "iterator_next": _transaction,
}
