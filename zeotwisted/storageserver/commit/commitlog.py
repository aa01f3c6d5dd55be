"""Keeps the operations of a transaction until it has the commit lock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from ZODB.POSException import StorageError

from zeotwisted.files import remove_file

from ..limits import LimitReached, TransactionLimits
from .spool import Spool

__all__ = ["CommitLog"]


class CommitLog:
    """The operations of one transaction, in the order in which the client sent them.

    Each entry is the name of an operation and its arguments; see `operations.Operations`.

    :param directory: the folder for a long log; None for the system's folder for temporary files.
    :param limits: how long it may be, and what all logs may take together; None for no limits.
    """

    def __init__(
        self, directory: str | None = None, limits: TransactionLimits | None = None
    ) -> None:
        self._directory = directory
        self._limits = limits or TransactionLimits.unlimited()
        self._spool = Spool(directory, limits=self._limits)
        self._most_bytes = self._limits.size.most
        self._most_operations = self._limits.operations.most
        self._count = 0
        # The bytes of the files, which count as bytes on disk.
        self._in_files = 0
        self._closed = False
        self._size = 0
        self._files: list[str] = []

    def __len__(self) -> int:
        return len(self._spool)

    @property
    def size(self) -> int:
        """The size of the log, in bytes, approximately."""
        return self._size

    def add(self, operation: str, *args: Any) -> None:
        """Add an operation; do nothing if the log is closed.

        :raises ZODB.POSException.StorageError: the entry cannot be written. The log is closed then.
        :raises LimitReached: the log is too long, or there are too many of them. It is closed then.
        """
        if self._closed:
            return
        # 64 is about the size of a Python object without its bytes.
        size = 64 + sum([len(arg) for arg in args if type(arg) is bytes])
        self._size += size
        self._count += 1
        try:
            if self._size > self._most_bytes:
                raise self._limits.size.reached("the transaction is too long")
            if self._count > self._most_operations:
                raise self._limits.operations.reached("the transaction has too many operations")
            self._spool.append((operation, args), size)
        except LimitReached:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StorageError(
                f"the transaction cannot be kept in the server's folder "
                f"{self._directory or tempfile.gettempdir()}: {error.strerror}; make room there, "
                "or have the server use another one (spool-dir)"
            ) from error

    def add_file(self, operation: str, *args: Any, filename: str, size: int = 0) -> None:
        """Add an operation on a file. `close` removes the file.

        :param size: the bytes that the file has taken of the limit of the disk. `close` gives them
            back.
        """
        self._files.append(filename)
        self._in_files += size
        self._size += size
        self.add(operation, *args, filename)

    def __iter__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        yield from self._spool

    def close(self) -> None:
        """Remove the operations and their files."""
        self._closed = True
        self._spool.close()
        self.remove_files()

    def remove_files(self) -> None:
        """Remove the files, when the storage has what is in them, or does not get it.

        The vote usually has moved them into the storage.
        """
        self._limits.disk.add(-self._in_files)
        self._in_files = 0
        for filename in self._files:
            # This must not raise: the transaction would keep the commit lock.
            remove_file(filename)
        self._files.clear()
