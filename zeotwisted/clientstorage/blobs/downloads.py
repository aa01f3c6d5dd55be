"""Downloads blobs from the server into the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .cache import BlobCache, FileLock
from .incoming import Incoming

__all__ = ["Download", "Downloads"]


class Download:
    """The download of one blob, from the request to the complete file.

    The file has another name until it is complete. Meanwhile the download holds the lock of `path`.
    Except for the constructor, everything belongs to the reactor's thread.

    :param path: the file's final name in the cache.
    :param lock: the lock of `path`; `end` releases it.
    """

    def __init__(self, cache: BlobCache, path: str, lock: FileLock) -> None:
        self._cache = cache
        self._path = path
        self._lock = lock
        descriptor, partial = cache.partial()
        file = open(descriptor, "r+b", buffering=0)  # noqa: SIM115 - closed by `end`
        self._incoming = Incoming(file, partial)
        #: Processes a call of the server's; see `Incoming.receive`.
        self.receive = self._incoming.receive

    def end(self, result: Any) -> int:
        """End the download when the server has answered, or the connection is lost.

        :return: the size of the file, in bytes.
        :raises Exception: as `Incoming.end`.
        """
        incoming = self._incoming
        try:
            incoming.end(result, self._path, ", keeping a blob")
            size = incoming.file.tell()
            self._keep()
            return size
        finally:
            incoming.remove()
            self._cache.unlock(self._lock)

    def _keep(self) -> None:
        incoming = self._incoming
        try:
            self._cache.put(incoming.path, self._path)
        except FileNotFoundError:
            # Another process has removed the file. Its content exists while the file is open.
            descriptor, incoming.path = self._cache.partial()
            incoming.file.seek(0)
            with open(descriptor, "wb") as copy:
                shutil.copyfileobj(incoming.file, copy)
            self._cache.put(incoming.path, self._path)


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
