"""Downloads blobs into files that the caller names, without a cache."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.protocol import WireError

from ..calls import ClientProtocol
from .incoming import Incoming

__all__ = ["BlobFiles"]


class BlobFiles:
    """The downloads of one client that are under way. Use it in the reactor's thread."""

    def __init__(self) -> None:
        self._running: dict[tuple[bytes, bytes], Incoming] = {}

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
            file = Incoming(open(path, "xb", buffering=0), path)  # noqa: SIM115 - closed by `ended`
        except OSError:
            answer.errback()
            return answer

        def ended(result: Any) -> str:
            del self._running[oid, tid]
            try:
                file.end(result, path)
            except BaseException:
                file.remove()
                raise
            file.file.close()
            return path

        # Before the call: the answer may come at once.
        self._running[oid, tid] = file
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
