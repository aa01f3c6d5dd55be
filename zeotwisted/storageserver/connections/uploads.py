"""The files of blobs that are sent to a client, or received from it."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

from ZODB.interfaces import IBlobStorage
from ZODB.POSException import StorageTransactionError, Unsupported

from zeotwisted.files import known_folder, remove_file

from ..limits import Budget, TransactionLimits

__all__ = [
    "CHUNK_SIZE",
    "EXTENDED_CHUNK_SIZE",
    "BlobUpload",
    "read_chunks",
    "require_blobs",
    "shared_file",
]

#: How many bytes of a blob one message contains: ZEO's size for clients of version 5, and the
#: fastest size for zeotwisted's clients.
CHUNK_SIZE = 59000
EXTENDED_CHUNK_SIZE = 2**18

# The names of the files that a client puts into a shared blob directory. ZODB makes the name from
# the serial. If the serial is a text, the name contains its `repr`.
_SHARED_NAME = re.compile(r"[A-Za-z0-9_.'\\-]+\.tmp[^/]?", re.ASCII)


def require_blobs(storage: Any) -> None:
    """Check that the storage has blobs.

    :raises ZODB.POSException.Unsupported: it has no blobs.
    """
    if not IBlobStorage.providedBy(storage):
        raise Unsupported("the served storage has no blob directory")


class BlobUpload:
    """A blob that a client is sending, in a temporary file of the storage.

    :ivar size: how many bytes it has taken of the limit of the disk.
    :raises LimitReached: too many blobs are being sent.
    """

    def __init__(self, storage: Any, limits: TransactionLimits) -> None:
        require_blobs(storage)
        folder = known_folder(storage.temporaryDirectory())
        self.size = 0
        self._limits = limits
        limits.files.take("too many blobs are sent at the same time")
        try:
            self._file, self._filename = folder.use(lambda path: tempfile.mkstemp(dir=path))
        except BaseException:
            limits.files.add(-1)
            raise

    def write(self, chunk: bytes) -> None:
        """Append to the file.

        :raises OSError: the file cannot be written, as on a full disk.
        :raises LimitReached: the blob is too long, or there is too little room for all blobs.
        """
        limits = self._limits
        size = len(chunk)
        if self.size + size > limits.size.most:
            raise limits.size.reached("the transaction is too long")
        limits.reserve.check(self._file, size, os.path.dirname(self._filename))
        limits.disk.take("blobs and transactions take too much room on the server's disk", size)
        self.size += size
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]

    def finish(self) -> str:
        """Close the file and return its name.

        The caller has to remove the file, and to give `size` back to the limit of the disk.
        """
        self._close()
        return self._filename

    def cancel(self) -> None:
        """Close and remove the file."""
        self._close()
        self._limits.disk.add(-self.size)
        remove_file(self._filename)

    def _close(self) -> None:
        os.close(self._file)
        self._limits.files.add(-1)


def shared_file(storage: Any, oid: bytes, name: str) -> str:
    """Return the path of a file that a client has put into the shared blob directory.

    :raises ZODB.POSException.StorageTransactionError: ZODB does not make such a name, or it is not
        the name of a regular file. A client must not be able to name any other file.
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


def read_chunks(filename: str, extended: bool, files: Budget) -> Iterator[bytes]:
    """Yield the content of a blob file in chunks.

    If too many files are open, it opens the file again for each chunk: clients that take nothing
    must not use up the descriptors, and other clients must not wait for them.

    :param extended: whether the client uses version 6 of the protocol.
    :param files: counts the open files.
    """
    size = EXTENDED_CHUNK_SIZE if extended else CHUNK_SIZE
    if not files.fits():
        files.strike()
        offset = 0
        while chunk := _read_at(filename, offset, size):
            offset += len(chunk)
            yield chunk
        return
    files.add()
    try:
        with open(filename, "rb", buffering=0) as file:
            while chunk := file.read(size):
                yield chunk
    finally:
        files.add(-1)


def _read_at(filename: str, offset: int, size: int) -> bytes:
    with open(filename, "rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size)
