"""What applications say about their transactions, on its way into a storage and back.

It comes from the network, or was written by a client some other day. So nothing here loads a
pickle: see `zeotwisted.protocol.extensions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ZODB.Connection import TransactionMetaData, overridable_property
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, StorageError

from zeotwisted.protocol import Unreadable, described, plain, stored, with_entry

from . import filelog

__all__ = ["Entry", "Metadata", "described_history", "described_undo_log", "history"]
__all__ += ["shown", "stored_extension", "undo_log"]

#: What a storage says of a revision or a transaction, and the stored extension.
Entry: TypeAlias = "tuple[dict[str, Any], bytes]"

#: The keys that storages put beside those of the extension.
_OWN_KEYS = {"id", "time", "tid", "serial", "user_name", "description", "size"}


class StoredExtension(dict[Any, Any]):
    """An extension for storages that want to have a dict.

    :ivar stored: what it is made from.
    """

    def __init__(self, pickle: bytes) -> None:
        self.stored = pickle
        self._unreadable: Unreadable | None = None
        try:
            super().__init__(described(pickle))
        except Unreadable as error:
            self._unreadable = error

    def items(self) -> Any:
        """See `dict.items`; the code that sends or stores it uses this.

        :raises ZODB.POSException.StorageError: it can be kept, but not be read.
        """
        if self._unreadable is not None:
            raise StorageError(f"the transaction's extension is unreadable: {self._unreadable}")
        return super().items()

    def __reduce__(self) -> Any:
        return dict, (list(self.items()),)


class Metadata(TransactionMetaData):
    """A transaction's metadata, as a client sends it, for a storage.

    :param extension: a dict, or the stored form, which is never loaded here.
    """

    @overridable_property
    def extension(self) -> dict[Any, Any]:
        """What storages use that do not take ``extension_bytes``."""
        return StoredExtension(self.extension_bytes)


def stored_extension(transaction: Any) -> bytes:
    """Return the extension of a transaction that a storage's iterator has returned, as stored.

    An extension that has no such form, as it never was in a file, is left out.
    """
    # What a client of another server hides from applications, its own clients look for.
    for name in ("stored_extension", "extension_bytes", "extension"):
        try:
            return _stored(getattr(transaction, name))
        except AttributeError:
            continue
        except Exception:
            # Whatever an object of the storage's own process may do when it is pickled.
            break
    return b""


def _stored(extension: Any) -> bytes:
    if isinstance(extension, bytes):
        return extension
    return extension.stored if isinstance(extension, StoredExtension) else stored(extension)


def shown(extension: bytes, letter: bytes) -> dict[Any, Any]:
    """Return an extension for clients of version 5: all of it that can be sent.

    :param letter: of the encoding.
    """
    try:
        return plain(described(extension), letter)
    except Unreadable:
        return {}


def history(storage: Any, oid: bytes, size: int) -> list[Entry]:
    """Return the last `size` revisions of an object, newest first.

    :raises ZODB.POSException.POSKeyError: there is no such object.
    """
    method = storage.history
    function, owner = getattr(method, "__func__", None), getattr(method, "__self__", None)
    if function is FileStorage.history:
        return filelog.history(owner, oid, size)
    if function is DemoStorage.history:
        return _history_of_both(owner, oid, size)
    if hasattr(storage, "stored_history"):
        return list(storage.stored_history(oid, size))
    return [_split(entry) for entry in storage.history(oid, size=size)]


def _history_of_both(storage: Any, oid: bytes, size: int) -> list[Entry]:
    entries: list[Entry] = []
    missing = 0
    for part in (storage.changes, storage.base):
        try:
            if len(entries) < size:
                entries += history(part, oid, size - len(entries))
        except POSKeyError:
            missing += 1
    if missing == 2:
        raise POSKeyError(oid)
    return entries


def undo_log(
    storage: Any, first: int, last: int, specification: dict[str, Any] | None = None
) -> list[Entry]:
    """Return transactions that can be undone, newest first.

    :param last: an index, or if it is negative a number of transactions.
    :param specification: what their descriptions have to contain.
    """
    method = storage.undoLog
    if getattr(method, "__func__", None) is FileStorage.undoLog:

        def wanted(entry: Entry) -> bool:
            description = described_undo_log(entry, b"Z")
            return all(description.get(key) == value for key, value in specification.items())  # type: ignore[union-attr]

        return filelog.undo_log(method.__self__, first, last, wanted if specification else None)
    if hasattr(storage, "stored_undo_log"):
        return list(storage.stored_undo_log(first, last, specification))
    if specification:
        entries = storage.undoInfo(first, last, specification)
    else:
        entries = storage.undoLog(first, last)
    return [_split(entry) for entry in entries]


def _split(entry: Mapping[Any, Any]) -> Entry:
    own = {key: plain(value, b"M") for key, value in entry.items() if key in _OWN_KEYS}
    rest = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
    # A MappingStorage has the extension as a whole under a key of its own.
    whole = {key: rest.pop(key) for key, value in entry.items() if type(value) is StoredExtension}
    try:
        extension = stored(rest)
    except Exception:
        extension = b""
    for key, value in whole.items():
        extension = with_entry(extension, key, value.stored)
    return own, extension


def described_history(entry: Entry, letter: bytes) -> dict[Any, Any]:
    """Return an entry of a history for clients of version 5."""
    own, extension = entry
    return {**shown(extension, letter), **own}


def described_undo_log(entry: Entry, letter: bytes) -> dict[Any, Any]:
    """Return an entry of an undo log for clients of version 5."""
    own, extension = entry
    return {**own, **shown(extension, letter)}
