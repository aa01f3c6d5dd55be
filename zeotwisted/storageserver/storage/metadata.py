"""The metadata of transactions: user, description, extension. Writes and reads them in a storage.

Metadata come from clients, now or at an earlier time. So nothing here unpickles them: see
`zeotwisted.protocol.extensions`.
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

#: An entry of a history or an undo log: the storage's own keys, and the stored extension.
Entry: TypeAlias = "tuple[dict[str, Any], bytes]"

#: The storage's own keys in an entry. The other keys are those of the extension.
_OWN_KEYS = {"id", "time", "tid", "serial", "user_name", "description", "size"}


class StoredExtension(dict[Any, Any]):
    """An extension for storages that need a dict.

    :ivar stored: the stored form, from which the dict is made.
    """

    def __init__(self, pickle: bytes) -> None:
        self.stored = pickle
        self._unreadable: Unreadable | None = None
        try:
            super().__init__(described(pickle))
        except Unreadable as error:
            self._unreadable = error

    def items(self) -> Any:
        """See `dict.items`; code that sends or stores the extension calls this.

        :raises ZODB.POSException.StorageError: the stored form cannot be read.
        """
        if self._unreadable is not None:
            raise StorageError(f"the transaction's extension is unreadable: {self._unreadable}")
        return super().items()

    def __reduce__(self) -> Any:
        return dict, (list(self.items()),)


class Metadata(TransactionMetaData):
    """A transaction's metadata, as a client sends it, for a storage.

    :param extension: a dict, or the stored form, which is never unpickled here.
    """

    @overridable_property
    def extension(self) -> dict[Any, Any]:
        """The extension for storages that do not use ``extension_bytes``."""
        return StoredExtension(self.extension_bytes)


def stored_extension(transaction: Any) -> bytes:
    """Return the stored form of the extension of a transaction from a storage's iterator.

    The result is empty if the extension cannot be pickled: it has never been in a file.
    """
    # The storage may be a client of another server. Its transactions have the stored form as
    # `stored_extension`, which applications do not see.
    for name in ("stored_extension", "extension_bytes", "extension"):
        try:
            return _stored(getattr(transaction, name))
        except AttributeError:
            continue
        except Exception:
            # The extension may contain objects of this process. Pickling them may raise anything.
            break
    return b""


def _stored(extension: Any) -> bytes:
    if isinstance(extension, bytes):
        return extension
    return extension.stored if isinstance(extension, StoredExtension) else stored(extension)


def shown(extension: bytes, letter: bytes) -> dict[Any, Any]:
    """Return an extension for clients of version 5: the entries that can be sent.

    :param letter: the letter of the encoding.
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

    :param last: the index after the last transaction to return. If it is negative: minus the number
        of transactions to return.
    :param specification: keys and values that the entries must have.
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
    # A MappingStorage has the whole extension as the value of one key.
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
