"""What is backed up: a storage at a server, or a FileStorage beside its server."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol

from ZODB.blob import FilesystemHelper, is_blob_record
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, StorageError, Unsupported
from ZODB.utils import p64, u64

from zeotwisted.clientstorage import ClientStorage

from .errors import BackupError
from .names import DOWNLOADS

__all__ = ["FileSource", "ServerSource", "Source", "damaged", "may_be_blob"]


def may_be_blob(data: bytes | None) -> bool:
    """Return whether a record may belong to a blob.

    A record that a wrapper has compressed or encrypted begins with a dot, and may be a blob's.
    """
    return bool(data) and (is_blob_record(data) or data[:1] == b".")  # type: ignore[index]


def damaged(name: str, where: str) -> BackupError:
    """Return an exception: the database itself is damaged."""
    return BackupError(
        f"{name} is damaged {where}, so that it cannot be backed up; copy the file, and look for "
        "what can be saved with ZODB's fstest and fsrecover"
    )


class Source(Protocol):
    """A database that can be read while others write to it.

    :ivar name: for people.
    :ivar last: the transaction that was the last one when it was opened. What came later does not
        belong to the backup.
    :ivar size: how long its records are, in bytes, approximately.
    """

    name: str
    last: bytes
    size: int

    def transactions(self, after: bytes) -> Iterator[Any]:
        """Return an iterator over the transactions after one, up to `last`."""

    def load_before(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the revision before a transaction; None if there is none."""

    def open_blob(self, oid: bytes, tid: bytes) -> Any:
        """Return a context manager with the content of a blob.

        :raises ZODB.POSException.POSKeyError: the source does not have it.
        """

    def is_packed_away(self, oid: bytes, tid: bytes) -> bool:
        """Return whether a revision that was there is gone: the database was packed meanwhile."""

    def has(self, tid: bytes) -> bool:
        """Return whether a transaction is there, and not packed away."""

    def close(self) -> None:
        """Close it."""


def _load_before(storage: Any, oid: bytes, tid: bytes) -> tuple[bytes, bytes] | None:
    try:
        found = storage.loadBefore(oid, tid)
    except POSKeyError:
        return None
    return None if found is None else found[:2]


#: How often to try, and how long (seconds) to wait between.
_TRIES = 50
_PAUSE = 0.1


def _patiently(begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Return an iterator over transactions.

    A FileStorage's iterator looks at the end of the file to find its first transaction, and fails
    if another one is being written there. So it is tried again.

    :param begin: makes it.
    :raises BackupError: it fails for too long.
    """
    for tried in range(_TRIES):
        if tried:
            time.sleep(_PAUSE)
        try:
            return begin()
        except (ValueError, AttributeError) as error:
            reason = error
    raise BackupError(
        f"the end of the database cannot be read ({reason}); check it with ZODB's fstest, on a copy"
    )


def _has(storage: Any, tid: bytes) -> bool:
    found = next(_patiently(lambda: storage.iterator(tid, tid)), None)
    return found is not None and found.tid == tid


class ServerSource:
    """A storage at a server, ours or ZEO's.

    :param open_client: opens the client; is called with arguments that it has to pass.
    :param folder: where blobs are kept for a moment, in a new folder.
    """

    def __init__(self, name: str, open_client: Callable[..., ClientStorage], folder: str) -> None:
        self.name = name
        self._blobs = os.path.join(folder, DOWNLOADS)
        os.mkdir(self._blobs, 0o700)
        try:
            self._storage = open_client(read_only=True, blob_dir=self._blobs, cache_size=2**16)
            self.last = self._storage.lastTransaction()
            self.size = self._storage.getSize()
        except BaseException:
            shutil.rmtree(self._blobs, ignore_errors=True)
            raise

    def transactions(self, after: bytes) -> Iterator[Any]:
        """Return an iterator over the transactions after one, up to `last`."""
        return _patiently(lambda: self._storage.read_log(after, self.last))

    def load_before(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the revision before a transaction; None if there is none."""
        return _load_before(self._storage, oid, tid)

    @contextmanager
    def open_blob(self, oid: bytes, tid: bytes) -> Iterator[IO[bytes]]:
        """Download a blob, and remove it afterwards."""
        try:
            path = self._storage.loadBlob(oid, tid)
        except Unsupported:
            # The server keeps no blobs.
            raise POSKeyError(oid) from None
        try:
            with open(path, "rb") as file:
                yield file
        finally:
            with suppress(FileNotFoundError):
                os.remove(path)

    def is_packed_away(self, oid: bytes, tid: bytes) -> bool:
        """Return whether a revision that was there is gone."""
        try:
            self._storage.loadSerial(oid, tid)
        except POSKeyError:
            return True
        return False

    def has(self, tid: bytes) -> bool:
        """Return whether a transaction is there, and not packed away."""
        return _has(self._storage, tid)

    def close(self) -> None:
        """Close the connection, and remove the folder for blobs."""
        try:
            self._storage.close()
        finally:
            shutil.rmtree(self._blobs, ignore_errors=True)


class _Whole:
    """A transaction of a FileStorage, whose records are all read.

    FileStorage's iterator ends without an error at a record that is damaged.
    """

    def __init__(self, transaction: Any, path: str) -> None:
        self._transaction = transaction
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    def __iter__(self) -> Iterator[Any]:
        records = iter(self._transaction)
        yield from records
        if records._pos != self._transaction._tend:
            raise damaged(self._path, f"in transaction {self._transaction.tid.hex()}")


class FileSource:
    """A FileStorage's file. A server may have it open, and write to it.

    :param path: the file.
    :param blob_dir: the folder with its blobs; None if it has none.
    :raises BackupError: it cannot be opened.
    """

    def __init__(self, path: str, blob_dir: str | None) -> None:
        self.name = os.path.abspath(path)
        self._path = path
        if blob_dir is not None and not os.path.isdir(blob_dir):
            raise BackupError(f"{blob_dir} is not a folder; correct --blobs")
        try:
            self._opened = os.stat(path)
            self._storage = FileStorage(path, read_only=True)
        except OSError as error:
            raise BackupError(f"{path}: {error.strerror}; correct the path of the file") from None
        except StorageError as error:
            raise BackupError(f"{path} is not a FileStorage ({error!r}); correct --file") from None
        # FileStorage itself would write into the folder.
        self._blobs = None if blob_dir is None else FilesystemHelper(blob_dir)
        self.last: bytes = self._storage.lastTransaction()
        self.size: int = self._storage.getSize()

    def transactions(self, after: bytes) -> Iterator[Any]:
        """Return an iterator over the transactions after one, up to `last`."""
        start = p64(u64(after) + 1)
        iterator = _patiently(lambda: self._storage.iterator(start, self.last))
        return (_Whole(each, self._path) for each in iterator)

    def load_before(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the revision before a transaction; None if there is none."""
        return _load_before(self._storage, oid, tid)

    @contextmanager
    def open_blob(self, oid: bytes, tid: bytes) -> Iterator[IO[bytes]]:
        """Open the blob's file."""
        if self._blobs is None:
            raise POSKeyError(oid)
        try:
            file = open(self._blobs.getBlobFilename(oid, tid), "rb")  # noqa: SIM115
        except FileNotFoundError:
            raise POSKeyError(oid) from None
        with file:
            yield file

    def is_packed_away(self, oid: bytes, tid: bytes) -> bool:
        """Return whether a pack has replaced the file."""
        try:
            return not os.path.samestat(os.stat(self._path), self._opened)
        except FileNotFoundError:
            # Between the two renames of a pack.
            return True

    def has(self, tid: bytes) -> bool:
        """Return whether a transaction is there, and not packed away."""
        return _has(self._storage, tid)

    def close(self) -> None:
        """Close the file."""
        self._storage.close()
