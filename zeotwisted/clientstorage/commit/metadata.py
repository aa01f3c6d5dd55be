"""What applications say about their transactions, on its way to a server and back.

In version 6 an extension travels as storages keep it, and is loaded here, in the process of the
application that reads it, as it is when that has the storage itself. In version 5 it travels as a
dict. See `zeotwisted.protocol.extensions`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ZODB._compat import loads

from zeotwisted.exceptions import ClientStorageError, UnrecognizedResult
from zeotwisted.protocol import Unreadable, described, plain, stored

from .outcome import without_mark

__all__ = ["READERS", "Entry", "encoded", "entries", "extension_dict", "history"]
__all__ += ["stored_extension", "undo_log"]

#: What a storage says of a revision or a transaction, and the stored extension.
Entry: TypeAlias = "tuple[dict[str, Any], bytes]"

#: The keys that storages put beside those of the extension.
_OWN_KEYS = {"id", "time", "tid", "serial", "user_name", "description", "size"}


def encoded(text: Any) -> Any:
    """Return a user or a description as storages keep it."""
    # Half of a surrogate pair is no reason to lose a transaction.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def stored_extension(txn: Any) -> bytes:
    """Return the extension of a transaction as storages keep it.

    :raises ClientStorageError: it contains something that cannot be pickled.
    """
    try:
        extension = getattr(txn, "extension_bytes", None)
        return extension if isinstance(extension, bytes) else stored(txn.extension)
    except Exception as error:
        raise _refused(error) from error


def extension_dict(txn: Any, encoding: bytes) -> dict[Any, Any]:
    """Return the extension of a transaction for a server of version 5.

    :param encoding: the letter of the encoding.
    :raises ClientStorageError: it cannot be loaded, or stock servers would end the connection.
    """
    try:
        # What a storage's iterator returns as the extension may be a dict of another class.
        extension = dict(txn.extension.items())
    except Exception as error:
        raise _refused(error) from error
    if encoding == b"M":
        _check_keys(extension)
    return extension


def _refused(error: Exception) -> ClientStorageError:
    return ClientStorageError(f"the transaction's extension cannot be sent: {error}")


def _check_keys(extension: dict[Any, Any]) -> None:
    waiting: list[Any] = [extension]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, (str, bytes)):
                    raise ClientStorageError(
                        "the transaction's extension cannot be sent: a server of version 5 with "
                        f"msgpack takes strings and bytes as keys, not {key!r}"
                    )
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


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
