"""Blobs on their way from the server into the cache."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .cache import BlobCache, FileLock

__all__ = ["TRANSITIONS", "Download", "Downloads", "Progress"]


class Progress(Enum):
    """How far a download is."""

    ASKED = "not begun"
    RECEIVING = "under way"
    RECEIVED = "complete"
    OVER = "over"


#: What the server may say when. Whatever is not in this table breaks the protocol.
TRANSITIONS: Mapping[tuple[Progress, str], Progress] = {
    (Progress.ASKED, "receiveBlobStart"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobChunk"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobStop"): Progress.RECEIVED,
}


class Download:
    """One blob, from the question to the complete file.

    It is written under another name, and nobody else is let at its place in the cache meanwhile.
    All but the constructor belongs to the reactor's thread.

    :param path: the place in the cache.
    :param lock: that of `path`; it is let go when the download is over.
    """

    def __init__(self, cache: BlobCache, path: str, lock: FileLock) -> None:
        self.progress = Progress.ASKED
        self._cache = cache
        self._path = path
        self._lock = lock
        descriptor, self._partial = cache.partial()
        self._file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - closed by `end`
        self._error: OSError | None = None

    def receive(self, name: str, chunk: bytes = b"") -> None:
        """Take what the server says.

        :raises WireError: it does not follow from what it has said before.
        """
        progress = TRANSITIONS.get((self.progress, name))
        if progress is None:
            raise WireError(f"{name} for a blob whose download is {self.progress.value}")
        self.progress = progress
        if self._error is not None:
            # There is no way to tell the server that the rest is not wanted.
            return
        try:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._error = error
            self._remove()

    def end(self, result: Any) -> int:
        """The server has answered, or the connection is lost; return the size of the file.

        :raises OSError: the file could not be written.
        :raises ClientStorageError: the server says that it has sent a file, but did not.
        """
        received = self.progress is Progress.RECEIVED
        self.progress = Progress.OVER
        try:
            if isinstance(result, Failure):
                result.raiseException()
            if self._error is not None:
                reason = os.strerror(self._error.errno or 0)
                raise OSError(self._error.errno, f"{reason}, keeping a blob", self._path)
            if not received:
                raise ClientStorageError("the server did not send the blob")
            size = self._file.tell()
            self._keep()
            return size
        finally:
            self._remove()
            self._cache.unlock(self._lock)

    def _keep(self) -> None:
        try:
            self._cache.put(self._partial, self._path)
        except FileNotFoundError:
            # Somebody has removed the name; the content is there as long as the file is open.
            descriptor, self._partial = self._cache.partial()
            self._file.seek(0)
            with open(descriptor, "wb") as copy:
                shutil.copyfileobj(self._file, copy)
            self._cache.put(self._partial, self._path)

    def _remove(self) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._partial)


class Downloads:
    """Those of one client that are under way.

    :param added: is told the size in bytes of what has come into the cache.
    """

    def __init__(self, cache: BlobCache, added: Callable[[int], None]) -> None:
        self._cache = cache
        self._added = added
        self._running: dict[tuple[bytes, bytes], Download] = {}

    def fetch(
        self, protocol: ClientProtocol, oid: bytes, tid: bytes, path: str, lock: FileLock
    ) -> None:
        """Download a blob; return when it is at `path`.

        A thread that waits here may be interrupted: the download goes on, and keeps the lock.

        :param lock: the lock of `path`, which belongs to the download now.
        :raises ZODB.POSException.POSKeyError: the server has no such blob.
        :raises OSError: the file cannot be written.
        """
        try:
            download = Download(self._cache, path, lock)
        except BaseException:
            self._cache.unlock(lock)
            raise

        def ended(result: Any) -> None:
            # Two threads may find that it is over; one of them may end it.
            if self._running.pop((oid, tid), None) is not None:
                self._added(download.end(result))

        # The server may begin as soon as it is asked.
        self._running[oid, tid] = download
        answer: Deferred[Any] = Deferred()
        answer.addBoth(ended)
        try:
            protocol.call_and_wait(answer, "sendBlob", oid, tid)
        except ClientDisconnected:
            if not answer.called:
                # There was no connection any more that could have answered.
                ended(Failure())
            raise

    def receive(self, name: str, oid: bytes, tid: bytes, *chunk: bytes) -> None:
        """The server sends a part of a blob; in the reactor's thread.

        :raises WireError: nobody asked for it.
        """
        download = self._running.get((oid, tid))
        if download is None:
            raise WireError(f"nobody asked for {name} of blob {oid.hex()}, tid {tid.hex()}")
        download.receive(name, *chunk)

    def forget(self) -> None:
        """This is a child process: the downloads are the parent's."""
        self._running.clear()
