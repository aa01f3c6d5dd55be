"""The blobs of a client storage: in a cache folder, in the server's blob directory, or none."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import IO, Any, Protocol

from ZODB.blob import BlobFile, FilesystemHelper, rename_or_copy_blob
from ZODB.POSException import POSKeyError, Unsupported

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.files import Folder, remove_file
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .cache import BlobCache, shared_folder
from .cleaner import BlobCleaner
from .downloads import Downloads

__all__ = ["Blobs", "CachedBlobs", "NoBlobs", "SharedBlobs", "client_blobs", "open_blob"]

_log = logging.getLogger("zeotwisted.client")

#: Waits for a connection, and returns it.
Connect = Callable[[], ClientProtocol]

#: How often to try when other processes remove a file before it is open.
_TRIES = 10


class Storing(Protocol):
    """A transaction that stores blobs."""

    #: Oids and files of the blobs that were stored.
    blobs: list[tuple[bytes, str]]

    def store_blob(self, oid: bytes, serial: bytes | None, data: bytes, file: IO[bytes]) -> None:
        """Store a record, and send the content of its blob."""

    def store_shared_blob(self, oid: bytes, serial: bytes | None, data: bytes, name: str) -> None:
        """Store a record whose blob is a file in the server's blob directory."""


class Blobs(Protocol):
    """The blobs of one client."""

    #: ZODB's view of the folder; None if there is none.
    fshelper: FilesystemHelper | None

    def store(
        self,
        transaction: Storing,
        oid: bytes,
        serial: bytes | None,
        data: bytes,
        filename: str,
    ) -> None:
        """Move the file `filename` away and store it as part of the transaction."""

    def load(self, connect: Connect, oid: bytes, tid: bytes) -> str:
        """Return the name of a blob's file.

        :raises ZODB.POSException.POSKeyError: there is no such blob.
        """

    def temporary_directory(self) -> str:
        """Return the folder in which an application may write blobs before they are stored."""

    def keep(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """Keep the files of a transaction that is committed."""

    def discard(self, blobs: list[tuple[bytes, str]]) -> None:
        """Remove the files of a transaction that has ended, if they still exist."""

    def receive(self, name: str, args: tuple[Any, ...]) -> None:
        """Receive a part of a blob from the server; in the reactor's thread."""

    def start(self) -> None:
        """Called when the storage is open."""

    def close(self) -> None:
        """Called when the storage is closed."""

    def forked(self) -> None:
        """Called after fork, in the child process."""


def client_blobs(
    folder: str | None, shared: bool, cache_size: int | None, check_percent: int
) -> Blobs:
    """Return the `Blobs` for the arguments of a client storage.

    :raises ValueError: the folder, or a number, cannot be used.
    """
    if folder is None:
        return NoBlobs()
    if shared:
        return SharedBlobs(folder)
    return CachedBlobs(folder, cache_size, check_percent)


class NoBlobs:
    """A client without a folder for blobs."""

    fshelper = None

    def _refuse(self, *args: Any) -> Any:
        raise Unsupported("this client has no folder for blobs; open it with blob_dir")

    store = load = temporary_directory = _refuse

    def keep(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """There are none."""

    def discard(self, blobs: list[tuple[bytes, str]]) -> None:
        """There are none."""

    def receive(self, name: str, args: tuple[Any, ...]) -> None:
        raise WireError(f"the server sent {name}, which was not requested")

    def close(self) -> None:
        """There is nothing to close."""

    start = forked = close


class SharedBlobs:
    """The server's blob directory, as this machine sees it."""

    def __init__(self, folder: str) -> None:
        self.fshelper = shared_folder(folder)
        self._temporary = Folder(str(self.fshelper.temp_dir))

    def store(
        self,
        transaction: Storing,
        oid: bytes,
        serial: bytes | None,
        data: bytes,
        filename: str,
    ) -> None:
        folder = Folder(str(self.fshelper.getPathForOID(oid)))
        descriptor, name = folder.use(lambda _: self.fshelper.blob_mkstemp(oid, serial))
        os.close(descriptor)
        # Another name: the server moves `target` away, and `name` must stay reserved until then.
        target = name + "-"
        transaction.blobs.append((oid, target))
        try:
            rename_or_copy_blob(filename, target)
            transaction.store_shared_blob(oid, serial, data, os.path.basename(target))
        finally:
            remove_file(name)

    def load(self, connect: Connect, oid: bytes, tid: bytes) -> str:
        path = str(self.fshelper.getBlobFilename(oid, tid))
        if not os.path.exists(path):
            raise POSKeyError(f"No blob file at {path}", oid, tid)
        return path

    def temporary_directory(self) -> str:
        return self._temporary.ensure()

    def keep(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        """Do nothing: the server has moved the files to their places."""

    def discard(self, blobs: list[tuple[bytes, str]]) -> None:
        _remove(blobs)

    def receive(self, name: str, args: tuple[Any, ...]) -> None:
        raise WireError(f"the server sent {name}, which was not requested")

    def close(self) -> None:
        """There is nothing to close."""

    start = forked = close


class CachedBlobs:
    """A cache folder of this client, or one that it shares with other clients.

    :param cache_size: how large the folder may become, in bytes; None for any size.
    :param check_percent: how many percent of that may be added between two checks of the size.
    """

    def __init__(self, folder: str, cache_size: int | None, check_percent: int) -> None:
        self._cleaner = None
        if cache_size is not None and not 0 <= check_percent < 100:
            raise ValueError(
                f"blob_cache_size_check is {check_percent}, and has to be a percentage below 100"
            )
        self._cache = BlobCache(folder)
        self.fshelper = self._cache.fshelper
        self._downloads = Downloads(self._cache, self._added)
        if cache_size is not None:
            self._cleaner = BlobCleaner(self._cache, cache_size, check_percent)

    def start(self) -> None:
        if self._cleaner is not None:
            self._cleaner.start()

    def _added(self, size: int) -> None:
        if self._cleaner is not None:
            self._cleaner.added(size)

    def store(
        self,
        transaction: Storing,
        oid: bytes,
        serial: bytes | None,
        data: bytes,
        filename: str,
    ) -> None:
        # Open it first: then it can be sent even if another process removes the file.
        with open(filename, "rb", buffering=0) as file:
            transaction.blobs.append((oid, self._cache.take(filename)))
            transaction.store_blob(oid, serial, data, file)

    def load(self, connect: Connect, oid: bytes, tid: bytes) -> str:
        path = self._cache.path(oid, tid)
        if not self._cache.use(path):
            protocol = connect()
            protocol.check_may_wait("loadBlob")
            lock = self._cache.lock(path)
            if self._cache.use(path):
                # Another thread or process has downloaded it while this thread waited.
                self._cache.unlock(lock)
            else:
                self._downloads.fetch(protocol, oid, tid, path, lock)
        return path

    def temporary_directory(self) -> str:
        return self._cache.temporary_directory()

    def keep(self, blobs: list[tuple[bytes, str]], tid: bytes) -> None:
        for oid, filename in blobs:
            path = self._cache.path(oid, tid)
            try:
                size = os.stat(filename).st_size
                # No lock is necessary, because the complete file is renamed in one step.
                self._cache.put(filename, path)
            except OSError as error:
                # The transaction is committed, so this must not raise. A load downloads the blob.
                _log.warning("a committed blob is not kept in the cache: %s", error)
            else:
                self._added(size)

    def discard(self, blobs: list[tuple[bytes, str]]) -> None:
        _remove(blobs)

    def receive(self, name: str, args: tuple[Any, ...]) -> None:
        self._downloads.receive(name, *args)

    def close(self) -> None:
        if self._cleaner is not None:
            self._cleaner.close()
        self._cache.close()

    def forked(self) -> None:
        self._downloads.forget()
        self._cache.forked()
        if self._cleaner is not None:
            self._cleaner.forked()


def _remove(blobs: list[tuple[bytes, str]]) -> None:
    for _, filename in blobs:
        # This must not raise: the transaction has ended, and may be committed.
        remove_file(filename)


def open_blob(blobs: Blobs, connect: Connect, oid: bytes, tid: bytes, blob: Any) -> IO[bytes]:
    """Return a blob's file, open for reading.

    :param blob: is notified when the file is closed; may be None.
    """
    for _ in range(_TRIES):
        path = blobs.load(connect, oid, tid)
        # FileNotFoundError: another process has removed it since.
        with contextlib.suppress(FileNotFoundError):
            return open(path, "rb") if blob is None else BlobFile(path, "r", blob)
    raise ClientStorageError(
        f"{path} was removed {_TRIES} times before it was open; is blob_cache_size too small?"
    )
