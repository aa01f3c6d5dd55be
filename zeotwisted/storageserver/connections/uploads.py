"""The files of blobs on their way to and from a client."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from ZODB.interfaces import IBlobStorage
from ZODB.POSException import StorageTransactionError, Unsupported

from zeotwisted.files import known_folder

__all__ = [
    "CHUNK_SIZE",
    "EXTENDED_CHUNK_SIZE",
    "BlobUpload",
    "read_chunks",
    "require_blobs",
    "shared_file",
]

#: How much of a blob goes into one message, in bytes: what ZEO's servers send, and what is fastest
#: between two of us.
CHUNK_SIZE = 59000
EXTENDED_CHUNK_SIZE = 2**18

# What a client that shares the blob directory calls the files that it puts there. ZODB makes the
# beginning of the serial; of one that is a text it takes Python's representation.
_SHARED_NAME = re.compile(r"[A-Za-z0-9_.'\\-]+\.tmp[^/]?", re.ASCII)


def require_blobs(storage: Any) -> None:
    """Check that the storage keeps blobs.

    :raises ZODB.POSException.Unsupported: it does not.
    """
    if not IBlobStorage.providedBy(storage):
        raise Unsupported("the served storage has no blob directory")


class BlobUpload:
    """A blob that a client is sending, in a temporary file of the storage."""

    def __init__(self, storage: Any) -> None:
        require_blobs(storage)
        folder = known_folder(storage.temporaryDirectory())
        self._file, self._filename = folder.use(lambda path: tempfile.mkstemp(dir=path))

    def write(self, chunk: bytes) -> None:
        """Append to the file.

        :raises OSError: the disk is full.
        """
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]

    def finish(self) -> str:
        """Return the name of the complete file, which is the caller's now."""
        os.close(self._file)
        return self._filename

    def cancel(self) -> None:
        """Remove what was received."""
        os.close(self._file)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._filename)


def shared_file(storage: Any, oid: bytes, name: str) -> str:
    """Return the path of a file that a client has put into the shared blob directory.

    :raises ZODB.POSException.StorageTransactionError: `name` is not one that ZODB makes, or no
        regular file. A client must not be able to name any other file.
    """
    require_blobs(storage)
    if not _SHARED_NAME.fullmatch(name):
        raise StorageTransactionError(f"{name!r} is not the name of a new blob file")
    path = os.path.join(storage.fshelper.getPathForOID(oid), name)
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise StorageTransactionError(
            f"no new blob file {name!r} in the server's blob directory ({error.strerror}); "
            "is the client's blob directory the same one?"
        )
    if not stat.S_ISREG(mode):
        raise StorageTransactionError(f"{name!r} is not a regular file")
    return path


def read_chunks(filename: str, extended: bool) -> Iterator[bytes]:
    """Yield the content of a blob file, a chunk at a time."""
    size = EXTENDED_CHUNK_SIZE if extended else CHUNK_SIZE
    with open(filename, "rb", buffering=0) as file:
        while chunk := file.read(size):
            yield chunk
