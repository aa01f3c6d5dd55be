"""Keeps the operations of a transaction until it has the commit lock."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from ZODB.POSException import StorageError

from .spool import Spool

__all__ = ["CommitLog"]


class CommitLog:
    """The operations of one transaction, in the order in which the client sent them.

    Each entry is the name of an operation and its arguments; see `operations.Operations`.

    :param directory: the folder for a long log; None for the system's folder for temporary files.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._spool = Spool(directory)
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
        """
        if self._closed:
            return
        # 64 is about the size of a Python object without its bytes.
        size = 64 + sum([len(arg) for arg in args if type(arg) is bytes])
        self._size += size
        try:
            self._spool.append((operation, args), size)
        except OSError as error:
            self.close()
            raise StorageError(
                f"the transaction cannot be kept in the server's folder "
                f"{self._directory or tempfile.gettempdir()}: {error.strerror}; make room there, "
                "or have the server use another one (spool-dir)"
            ) from error

    def add_file(self, operation: str, *args: Any, filename: str) -> None:
        """Add an operation on a file. `close` removes the file."""
        self._files.append(filename)
        self.add(operation, *args, filename)

    def __iter__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        yield from self._spool

    def close(self) -> None:
        """Remove the operations and their files."""
        self._closed = True
        self._spool.close()
        for filename in self._files:
            # The vote usually moves the file into the storage.
            with contextlib.suppress(FileNotFoundError):
                os.remove(filename)
        self._files.clear()
