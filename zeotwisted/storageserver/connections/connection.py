"""One client's session with one storage: the state that its calls share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from ZODB.POSException import StorageTransactionError

from zeotwisted.access import ANONYMOUS, OPEN, Access, Login
from zeotwisted.protocol import GOODBYE, Broadcast, Capabilities, Role

from ..clientlabel import ClientLabel
from ..commit import CommitLog, Phase, ServerTransaction
from ..figures import ConnectionReport, ServerFigures
from ..floods import Kind, brief
from ..limits import LimitReached
from ..storage import ServedStorage
from ..turns import Turns
from .credlogin import CredLogin
from .iteration import Iteration
from .logins import Logins
from .peer import Gone, Peer
from .uploads import BlobUpload

__all__ = ["ServerConnection"]


class Others(Protocol):
    """All connections of the server; see `clients.Clients`."""

    def reports(self, most: int, storage_id: str | None = None) -> list[ConnectionReport]:
        """Return the state of at most so many connections."""

    def report_of(self, number: int) -> ConnectionReport | None:
        """Return the state of the connection with a number; None if it is gone."""

    def disconnect(self, number: int, reason: str) -> ConnectionReport | None:
        """Drop the connection with a number; return what it was, or None if it is gone."""


class ServerConnection:
    """The session of one client, from the connection's start to its end.

    It is the first argument of the functions for the client's calls; see `calls`.

    :param storages: the server's storages by name.
    :param access: the roles of clients at the address to which this one is connected.
    :param logins: slows down hosts that guess passwords.
    :param figures: counts what is refused; None to count nothing that anybody sees.
    :param others: all connections of the server, for operators; None if there are none.
    :ivar peer: the protocol of the connection; a `Gone` when the connection is lost.
    :ivar label: the name of the client in log lines.
    :ivar where: the identity and the address of the client; the label begins with what the client
        calls itself.
    :ivar is_labelled: whether the client has given itself a label.
    :ivar capabilities: what this end and the client have agreed on, see
        `zeotwisted.protocol.capabilities`.
    :ivar login: the attempt of the client to prove its user name that is under way, or None.
    :ivar identity: who the client is; known when it registers.
    :ivar roles: what the client may do. Before the registration it has only `Role.NONE`.
    :ivar read_only: whether the client may not write.
    :ivar wants_to_write: whether it may not because the storage is read-only now.
    :ivar registered: the storage that the client has registered for, or None.
    :ivar iteration: the client's iterators over transactions; set by the registration.
    :ivar slow: a lock, so that one client uses one thread at a time for its slow calls.
    :ivar downloads: a lock, so that one blob is sent to the client at a time.
    :ivar transaction: the client's transaction until it is finished or aborted, or None.
    :ivar upload: the blob that the client is sending, or None.
    """

    _log = Logger()

    iteration: Iteration

    def __init__(
        self,
        peer: Peer,
        storages: Mapping[str, ServedStorage],
        logins: Logins,
        access: Access = OPEN,
        figures: ServerFigures | None = None,
        others: Others | None = None,
    ) -> None:
        self.peer = peer
        self.figures = figures or ServerFigures()
        self.storages = storages
        self.logins = logins
        self.others = others
        self.access = access
        self.login: Login | CredLogin | None = None
        self.identity = ANONYMOUS
        self.roles = frozenset({Role.NONE})
        self.where = ClientLabel(peer.label)
        self.label: str = self.where
        self.is_labelled = False
        self.capabilities: Capabilities = {}
        self.read_only = False
        self.wants_to_write = False
        self.registered: ServedStorage | None = None
        self.downloads = Turns()
        self.transaction: ServerTransaction | None = None
        self.upload: BlobUpload | None = None
        self.slow = Turns()

    @property
    def gone(self) -> bool:
        """Whether the connection is lost."""
        return type(self.peer) is Gone

    @property
    def number(self) -> int:
        """See `storage.listener.Listener`."""
        return self.peer.number

    @property
    def label_fields(self) -> Mapping[str, str]:
        """The parts of the label: see `ClientLabel`."""
        return self.label.fields if isinstance(self.label, ClientLabel) else {"address": self.label}

    @property
    def served(self) -> ServedStorage:
        """The storage that the client has registered for."""
        assert self.registered is not None
        return self.registered

    @property
    def storage(self) -> Any:
        """The ZODB storage of `served`."""
        return self.served.storage

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run a slow function in some thread, after the earlier slow calls of this client.

        Return a Deferred of its result.
        """
        return self.slow.run(self._run_slow, function, *args)

    def _run_slow(self, function: Callable[..., Any], *args: Any) -> Any:
        # Skip the calls that a client that is gone has left in the queue.
        if self.gone:
            return None
        return self.served.run_slow(self, len(self.slow), self._begin_slow, function, *args)

    def _begin_slow(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return succeed(None) if self.gone else self.served.in_thread(function, *args)

    # The transaction.

    def current(self, id: int) -> ServerTransaction:
        """Return the client's transaction, which must have this number.

        :raises ZODB.POSException.StorageTransactionError: the client has no transaction, or one
            with another number.
        """
        transaction = self.transaction
        if transaction is None or transaction.id != id:
            raise StorageTransactionError("not the current transaction of this client")
        return transaction

    def collecting(self, id: int) -> CommitLog:
        """Return the log for the operations of the current transaction.

        :raises ZODB.POSException.StorageTransactionError: the client has no transaction with this
            number, or the transaction has voted.
        """
        transaction = self.current(id)
        transaction.expect("store")
        return transaction.commit_log

    def cancel_upload(self) -> None:
        """Remove the blob that the client is sending, if there is one."""
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.cancel()

    # The methods that the protocol calls.

    def failed(self, error: Exception) -> bool:
        """Handle the error of a one-way call. Return whether the client's vote will raise it."""
        transaction = self.transaction
        if transaction is None or transaction.phase is not Phase.COLLECTING:
            return False
        transaction.fail(error)
        if isinstance(error, LimitReached) and self.admit(Kind.LIMIT):
            self._log.warn(
                "({label}) a limit of its transaction is reached: {error}",
                label=self.label,
                storage_id=self.served.storage_id,
                error=brief(error),
            )
        return True

    def has_closed_storage(self) -> bool:
        """Return whether the client's storage has closed itself. The client is disconnected then.

        Call this after an exception that is not expected.
        """
        return self.registered is not None and self.registered.has_closed()

    async def lost(self, is_told: bool = False) -> None:
        """Release all that the client holds, when the connection is lost.

        :param is_told: do not log the end of the connection.
        """
        self.peer = Gone(self.peer)
        if self.registered is None:
            return
        if not is_told:
            self._log_end()
        self.registered.unregister(self)
        self.cancel_upload()
        if self.transaction is not None:
            await self.transaction.abort()
            self.transaction = None
        # This waits for the slow calls: one of them may be using an iterator.
        await self.iteration.close()

    def _log_end(self) -> None:
        transaction = self.transaction
        if transaction is None and not self.is_labelled:
            self._log.debug(
                "({label}) disconnected",
                label=self.label,
                storage_id=self.served.storage_id,
            )
        elif self.admit(Kind.CAME_OR_WENT):
            what = "" if transaction is None else f" during {_held(transaction)} transaction"
            self._log.info(
                "({label}) disconnected{what}",
                label=self.label,
                what=what,
                storage_id=self.served.storage_id,
                transaction=None if transaction is None else transaction.tid,
            )

    # The methods that the storage calls: see `storage.served.Listener`.

    def tell(self, news: Broadcast) -> None:
        self.peer.tell(news)

    def send(self) -> None:
        self.peer.send()

    def drop(self, reason: str) -> None:
        self.peer.drop(reason)

    def say_goodbye(self, reason: str) -> None:
        """Tell the client, if it understands that, that the server is about to stop."""
        if self.registered is not None and GOODBYE in self.capabilities:
            self.peer.push("goodbye", reason)
            self.peer.send()

    @property
    def takes_timeouts(self) -> bool:
        return self.peer.is_extended

    def admit(self, kind: Kind) -> bool:
        return self.peer.admit(kind)


def _held(transaction: ServerTransaction) -> str:
    """Return the word of ZEO's log for a transaction with or without the commit lock."""
    return "locked" if transaction.has_lock else "unlocked"
