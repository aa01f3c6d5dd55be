"""The public exceptions: those of ``ZEO.Exceptions`` with the same names, and our own ones.

If ZEO is installed, these classes are subclasses of ZEO's, so an ``except`` clause for ZEO's class
catches them too. This module imports only ZEO's exceptions.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from transaction.interfaces import TransientError
from ZODB.POSException import StorageError
from ZODB.utils import tid_repr

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

if not TYPE_CHECKING and find_spec("ZEO") is not None:
    from ZEO.Exceptions import ClientDisconnected as _ClientDisconnected
    from ZEO.Exceptions import ClientStorageError as _ClientStorageError
    from ZEO.Exceptions import ProtocolError as _ProtocolError
    from ZEO.Exceptions import ServerException as _ServerException
    from ZEO.Exceptions import UnrecognizedResult as _UnrecognizedResult
else:

    class _ClientStorageError(StorageError):
        pass

    class _ClientDisconnected(_ClientStorageError, TransientError):
        pass

    class _ProtocolError(_ClientStorageError):
        pass

    class _ServerException(_ClientStorageError):
        pass

    class _UnrecognizedResult(_ClientStorageError):
        pass


class ClientStorageError(_ClientStorageError):
    """A failure in the client, or on the way to the server."""


class UnrecognizedResult(ClientStorageError, _UnrecognizedResult):
    """The server answered a call with a value that the call cannot return."""


class ClientDisconnected(ClientStorageError, _ClientDisconnected):
    """There is no connection to the server.

    The error is transient: retry the transaction.
    """


class AccessDenied(ClientStorageError):
    """The server refuses something, because this client does not have the role for it.

    The text says what was refused to which client.
    """


class CommitInDoubt(ClientStorageError):
    """The connection was lost during a commit, and no server could say whether it was committed.

    The error is not transient: if the transaction is committed, a retry would commit it twice.

    :ivar tid: the id that the transaction has if it is committed; None if the id is not known.
    :ivar user: the transaction's user.
    :ivar description: its description.
    """

    def __init__(
        self, tid: bytes | None, user: str | bytes, description: str | bytes, reason: str
    ) -> None:
        name = "" if tid is None else f" {tid_repr(tid)}"
        super().__init__(
            f"it is not known whether the transaction{name} of user {user!r} ({description!r}) is "
            f"committed; look into the database before you repeat it: {reason}"
        )
        self.tid = tid
        self.user = user
        self.description = description


class NotInHistory(ClientStorageError):
    """A feed of changes cannot go on: the transaction at its position is not in the storage.

    Either the server has another database, or one that was restored from an older backup, or a pack
    has removed the transaction. If the indexes or copies that were made from the feed may be of
    another database, make them again from the beginning.

    :ivar tid: the transaction at the position of the feed.
    :ivar packed: whether a pack may have removed it. The feed can go on with ``accept_gaps``.
    """

    def __init__(self, tid: bytes, packed: bool, last: bytes | None = None) -> None:
        if packed:
            why = "a pack has removed it, or this is another database"
        elif last is not None:
            why = (
                f"its last transaction is {last.hex()}, so this is another database, or one "
                "restored from an older backup"
            )
        else:
            why = "this is another database, or one restored from a backup, or it was packed"
        super().__init__(f"transaction {tid.hex()} is not in the storage: {why}")
        self.tid = tid
        self.packed = packed


class TransactionTimeout(ClientStorageError, TransientError):
    """The transaction is aborted, because it took too long.

    Either it waited for the commit lock for longer than `commit_lock_timeout`, or it held the lock
    for longer than the server's ``transaction-timeout``. The text says which, and who blocked it.
    The error is transient: retry the transaction.
    """


class ProtocolError(ClientStorageError, _ProtocolError):
    """The peer does not use ZEO's protocol, or uses a version that is not supported."""


class ServerException(ClientStorageError, _ServerException):
    """The server raised an exception whose class the client does not recreate.

    Its arguments are the dotted name of the exception's class on the server, and the arguments or
    attributes of the server's exception. It has the same attributes itself.

    For an `OSError` on the server, the exception is also an `OSError`; see `server_os_error`.
    """


def server_os_error(class_: type[OSError], *args: Any) -> Any:
    """Return an exception for an `OSError` that the server raised.

    It is an instance of both `class_` and `ServerException`. It has the errno and the file name of
    the server's exception. The file is on the server. A connection error is about a connection of
    the server, not about the client's connection to it.
    """
    made: Any = _server_class
    return made(class_)(*args)


@cache
def _server_class(class_: Any) -> Any:
    return type(class_.__name__, (ServerException, class_), {"__reduce__": _reduce_os_error})


def _reduce_os_error(error: OSError) -> tuple[Any, ...]:
    class_ = type(error).__bases__[1]
    reduced: Any = OSError.__reduce__(error)
    # POSError.__setstate__ requires `args` in the state.
    return server_os_error, (class_, *reduced[1]), {**vars(error), "args": error.args}
