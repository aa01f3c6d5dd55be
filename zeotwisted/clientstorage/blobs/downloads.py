"""Downloads blobs from the server into the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.files import remove_file
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .cache import BlobCache, FileLock

__all__ = ["TRANSITIONS", "Download", "Downloads", "Progress"]


class Progress(Enum):
    """The states of a download. The values appear in messages."""

    ASKED = "not begun"
    RECEIVING = "under way"
    RECEIVED = "complete"
    OVER = "over"


#: The calls that the server may make in each state. Any other call is a protocol error.
TRANSITIONS: Mapping[tuple[Progress, str], Progress] = {
    (Progress.ASKED, "receiveBlobStart"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobChunk"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobStop"): Progress.RECEIVED,
}


class Download:
    """The download of one blob, from the request to the complete file.

    The file has another name until it is complete. Meanwhile the download holds the lock of `path`.
    Except for the constructor, everything belongs to the reactor's thread.

    :param path: the file's final name in the cache.
    :param lock: the lock of `path`; `end` releases it.
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
        """Process a call of the server's.

        :raises WireError: the call is not allowed in this state.
        """
        progress = TRANSITIONS.get((self.progress, name))
        if progress is None:
            raise WireError(f"{name} for a blob whose download is {self.progress.value}")
        self.progress = progress
        if self._error is not None:
            # The protocol has no way to stop the server, so drop the rest.
            return
        try:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._error = error
            self._remove()

    def end(self, result: Any) -> int:
        """End the download when the server has answered, or the connection is lost.

        :return: the size of the file, in bytes.
        :raises OSError: the file could not be written.
        :raises ClientStorageError: the server has answered without sending the whole file.
        :raises Exception: `result` is a failure with this exception.
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
            # Another process has removed the file. Its content exists while the file is open.
            descriptor, self._partial = self._cache.partial()
            self._file.seek(0)
            with open(descriptor, "wb") as copy:
                shutil.copyfileobj(self._file, copy)
            self._cache.put(self._partial, self._path)

    def _remove(self) -> None:
        self._file.close()
        remove_file(self._partial)


class Downloads:
    """The current downloads of one client.

    :param added: is called with the size (bytes) of each file that was added to the cache.
    """

    def __init__(self, cache: BlobCache, added: Callable[[int], None]) -> None:
        self._cache = cache
        self._added = added
        self._running: dict[tuple[bytes, bytes], Download] = {}

    def fetch(
        self, protocol: ClientProtocol, oid: bytes, tid: bytes, path: str, lock: FileLock
    ) -> None:
        """Download a blob; return when it is at `path`.

        If Ctrl-C interrupts the thread, the download goes on and keeps the lock.

        :param lock: the lock of `path`. The download releases it.
        :raises ZODB.POSException.POSKeyError: the server has no such blob.
        :raises OSError: the file cannot be written.
        """
        try:
            download = Download(self._cache, path, lock)
        except BaseException:
            self._cache.unlock(lock)
            raise

        def ended(result: Any) -> None:
            # Both the answer and the `except` below may call this, in two threads.
            if self._running.pop((oid, tid), None) is not None:
                self._added(download.end(result))

        # Before the call: the server may send the first part at once.
        self._running[oid, tid] = download
        answer: Deferred[Any] = Deferred()
        answer.addBoth(ended)
        try:
            protocol.call_and_wait(answer, "sendBlob", oid, tid)
        except ClientDisconnected:
            if not answer.called:
                # The call was not made, so there will be no answer.
                ended(Failure())
            raise

    def receive(self, name: str, oid: bytes, tid: bytes, *chunk: bytes) -> None:
        """Receive a part of a blob from the server; in the reactor's thread.

        :raises WireError: there is no download of this blob.
        """
        download = self._running.get((oid, tid))
        if download is None:
            blob = f"blob {oid.hex()}, tid {tid.hex()}"
            raise WireError(f"the server sent {name} of {blob}, which was not requested")
        download.receive(name, *chunk)

    def forget(self) -> None:
        """After fork: the downloads belong to the parent."""
        self._running.clear()
