"""What transactions may take before they are voted: memory, disk, files."""

from __future__ import annotations

import os
from typing import NamedTuple

from .budget import Budget

__all__ = ["DiskReserve", "TransactionLimits"]

#: Of a small disk, only this part is kept free.
_PART = 20

#: Numbers that nobody reaches; nothing of a disk is kept free.
_NO_LIMITS = (2**63,) * 5 + (0,)


class DiskReserve:
    """Keeps some of each disk free, so that the storages can still write.

    :param budget: has the number of bytes, and counts the strikes.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def check(self, descriptor: int, size: int, folder: str) -> None:
        """Check that `size` more bytes may be written to an open file.

        :param folder: the place of the file, for the message.
        :raises LimitReached: too little would be free.
        :raises OSError: the system does not tell.
        """
        disk = os.fstatvfs(descriptor)
        kept = min(self._budget.most, disk.f_blocks * disk.f_frsize // _PART)
        if kept and disk.f_bavail * disk.f_frsize - size < kept:
            raise self._budget.reached(
                f"the disk of the server's folder {folder} is almost full; make room there"
            )


class TransactionLimits(NamedTuple):
    """The limits of transactions, and of blobs that clients send."""

    #: Bytes in memory, of all transactions.
    memory: Budget
    #: Bytes on disk, of all transactions and blobs.
    disk: Budget
    #: Open files, of all transactions and blobs.
    files: Budget
    #: Bytes of one transaction, with its blobs.
    size: Budget
    #: Operations of one transaction.
    operations: Budget
    reserve: DiskReserve

    @classmethod
    def unlimited(cls) -> TransactionLimits:
        """Return limits that nobody reaches."""
        memory, disk, files, size, operations, free = (Budget("", most) for most in _NO_LIMITS)
        return cls(memory, disk, files, size, operations, DiskReserve(free))
