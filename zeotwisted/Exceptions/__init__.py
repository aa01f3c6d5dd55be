"""`zeotwisted.exceptions`, by the name that it has in ZEO.

It is a folder, as some file systems take ``Exceptions.py`` and ``exceptions.py`` for one file.
"""

from __future__ import annotations

from zeotwisted.exceptions import (
    AccessDenied,
    ClientDisconnected,
    ClientStorageError,
    CommitInDoubt,
    NotInHistory,
    ProtocolError,
    ServerException,
    TransactionTimeout,
    UnrecognizedResult,
)

__all__ = [
    "AccessDenied",
    "ClientDisconnected",
    "ClientStorageError",
    "CommitInDoubt",
    "NotInHistory",
    "ProtocolError",
    "ServerException",
    "TransactionTimeout",
    "UnrecognizedResult",
]
