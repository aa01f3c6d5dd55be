"""Downloads blobs into files that the caller names, without a cache."""

from __future__ import annotations

import errno
import os
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.files import remove_file
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .downloads import TRANSITIONS, Progress

__all__ = ["BlobFiles"]


class _File:
    """A file that a blob is written to. It is removed if it does not become complete."""

    def __init__(self, path: str) -> None:
        self.progress = Progress.ASKED
        self._path = path
        self._file: IO[bytes] = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by `end`
        self._error: OSError | None = None

    def receive(self, name: str, chunk: bytes = b"") -> None:
        progress = TRANSITIONS.get((self.progress, name))
        if progress is None:
            raise WireError(f"{name} for a blob whose download is {self.progress.value}")
        self.progress = progress
        if self._error is not None:
            return
        try:
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._error = error

    def end(self, result: Any) -> str:
        complete = False
        try:
            if isinstance(result, Failure):
                result.raiseException()
            if self._error is not None:
                raise OSError(self._error.errno, os.strerror(self._error.errno or 0), self._path)
            if self.progress is not Progress.RECEIVED:
                raise ClientStorageError("the server did not send the blob")
            complete = True
            return self._path
        finally:
            self.progress = Progress.OVER
            self._file.close()
            if not complete:
                remove_file(self._path)


class BlobFiles:
    """The downloads of one client that are under way. Use it in the reactor's thread."""

    def __init__(self) -> None:
        self._running: dict[tuple[bytes, bytes], _File] = {}

    def fetch(self, protocol: ClientProtocol, oid: bytes, tid: bytes, path: str) -> Deferred[str]:
        """Download a blob; return a Deferred of `path`.

        It fails with `ZODB.POSException.POSKeyError` if the server has no such blob, and with
        OSError if the file cannot be written, or is there already, or if the same blob is on its
        way to another one.
        """
        answer: Deferred[Any] = Deferred()
        try:
            if (oid, tid) in self._running:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            file = self._running[oid, tid] = _File(path)
        except OSError:
            answer.errback()
            return answer

        def ended(result: Any) -> str:
            del self._running[oid, tid]
            return file.end(result)

        # Before the call: the answer may come at once.
        answer.addBoth(ended)
        try:
            protocol.call(answer, "sendBlob", oid, tid)
        except ClientStorageError:
            answer.errback()
        return answer

    def receive(self, name: str, oid: bytes, tid: bytes, *chunk: bytes) -> None:
        """Receive a part of a blob from the server.

        :raises WireError: it was not requested.
        """
        file = self._running.get((oid, tid))
        if file is None:
            raise WireError(f"the server sent {name}, which was not requested")
        file.receive(name, *chunk)
