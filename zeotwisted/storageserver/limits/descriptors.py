"""The file descriptors of the process, and how many of them clients may use."""

from __future__ import annotations

import resource
from typing import NamedTuple

__all__ = ["Allotment", "allot", "descriptor_limit", "raise_descriptors"]

#: Descriptors for storages, logs, listeners, threads and modules.
_RESERVE = 64

#: What to assume if the system has no limit, and the lowest number to divide.
_UNLIMITED = 2**20
_FEWEST = 128

#: Some systems say that there is no limit, and accept no more than this.
_ACCEPTED_EVERYWHERE = 10240


class Allotment(NamedTuple):
    """How many descriptors clients may use, by kind."""

    connections: int
    #: Files of long transactions and of blobs that are sent.
    files: int
    iterators: int
    #: Files of blobs that are read.
    downloads: int


def raise_descriptors() -> int:
    """Raise the soft limit of descriptors to the hard one; return the new soft limit.

    The limit stays as it is if the system refuses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, _ACCEPTED_EVERYWHERE):
        if _is_more(wanted, soft) and not _is_more(wanted, hard):
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                break
            except (OSError, ValueError):
                continue
    return descriptor_limit()


def _is_more(one: int, other: int) -> bool:
    if other == resource.RLIM_INFINITY:
        return False
    return one == resource.RLIM_INFINITY or one > other


def descriptor_limit() -> int:
    """Return how many descriptors the process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def allot(number: int) -> Allotment:
    """Return the shares of `number` descriptors. A tenth is left, for files that are open shortly.

    With 1024 descriptors, clients may have 288 connections, 384 files, 96 iterators, and 96 blobs
    that are read. One address
    may have a half of the connections, with two files each: this leaves files for others.
    """
    usable = max(number, _FEWEST) - _RESERVE
    return Allotment(usable * 3 // 10, usable * 4 // 10, usable // 10, usable // 10)
