"""What a transaction wants to do, kept until the commit lock is free."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from zeotwisted.spool import Spool

__all__ = ["CommitLog"]


class CommitLog:
    """The operations of one transaction, in the order in which the client sent them.

    Each entry is the name of an operation and its arguments, see `transaction.Operations`.
    """

    def __init__(self) -> None:
        self._spool = Spool()
        self._files: list[str] = []

    def __len__(self) -> int:
        return len(self._spool)

    def add(self, operation: str, *args: Any) -> None:
        """Add an operation.

        :raises OSError: the disk is full.
        """
        # 64 stands for what Python needs besides the bytes themselves.
        size = 64 + sum(len(arg) for arg in args if isinstance(arg, bytes))
        self._spool.append((operation, args), size)

    def add_file(self, operation: str, *args: Any, filename: str) -> None:
        """Add an operation on a file that is to be removed with the log."""
        self._files.append(filename)
        self.add(operation, *args, filename)

    def __iter__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        yield from self._spool

    def close(self) -> None:
        """Forget the operations and remove their files."""
        self._spool.close()
        for filename in self._files:
            # The storage has usually taken it.
            with contextlib.suppress(FileNotFoundError):
                os.remove(filename)
        self._files.clear()
