"""The public exceptions, with the names and bases that ZEO's have."""

from __future__ import annotations

from transaction.interfaces import TransientError
from ZODB.POSException import StorageError

__all__ = [
    "ClientDisconnected",
    "ClientStorageError",
    "ProtocolError",
    "ServerException",
    "UnrecognizedResult",
]


class ClientStorageError(StorageError):
    """Something went wrong in the client storage or on its way to the server."""


class UnrecognizedResult(ClientStorageError):
    """The server answered a call with something that the call cannot return."""


class ClientDisconnected(ClientStorageError, TransientError):
    """There is no connection to the server.

    It is transient: the transaction may be retried once the connection is back.
    """


class ProtocolError(ClientStorageError):
    """The peer does not speak ZEO, or a version of it that we do not speak."""


class ServerException(ClientStorageError):
    """The server raised an exception that has no counterpart here.

    Its arguments are the dotted name of the exception's class on the server, and
    that exception's arguments or attributes.
    """
