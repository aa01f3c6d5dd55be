"""One client's session with one storage: what all of its calls share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.POSException import StorageTransactionError

from zeotwisted.protocol import Broadcast

from ..commit import CommitLog, Phase, ServerTransaction
from ..floods import Kind
from ..storage import ServedStorage
from ..turns import Turns
from .iterators import Iterators
from .peer import Gone, Peer
from .uploads import BlobUpload

__all__ = ["ServerConnection"]


class ServerConnection:
    """One client, from its registration to the end.

    The functions in `calls` do what the client asks for, and are given this object.

    :param storages: the server's storages by name.
    :ivar peer: the protocol below; a `Gone` when the connection is lost.
    :ivar label: how log lines call the client.
    :ivar is_labelled: whether the client has given itself a label.
    :ivar read_only: whether the client may not write.
    :ivar registered: the storage that the client has registered for, or None.
    :ivar iterators: the client's iterators over transactions; there from the registration on.
    :ivar downloads: takes turns with the blobs that the client asks for.
    :ivar transaction: the client's transaction, until it is over.
    :ivar upload: the blob that the client is sending.
    """

    _log = Logger()

    iterators: Iterators

    def __init__(self, peer: Peer, storages: Mapping[str, ServedStorage]) -> None:
        self.peer = peer
        self.storages = storages
        self.label = peer.label
        self.is_labelled = False
        self.read_only = False
        self.registered: ServedStorage | None = None
        self.downloads = Turns()
        self.transaction: ServerTransaction | None = None
        self.upload: BlobUpload | None = None
        # The slow calls of one client are done one after the other.
        self._slow = Turns()

    @property
    def gone(self) -> bool:
        """Whether the connection is lost."""
        return type(self.peer) is Gone

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
        """Run a slow function in some thread, after those that this client has asked for before."""
        return self._slow.run(self._run_slow, function, *args)

    def _run_slow(self, function: Callable[..., Any], *args: Any) -> Any:
        # What a client left behind in the queue is not worth a thread.
        return None if self.gone else self.served.in_thread(function, *args)

    # The transaction.

    def current(self, id: int) -> ServerTransaction:
        """Return the client's transaction, which has to have this number.

        :raises ZODB.POSException.StorageTransactionError: it has another one, or none.
        """
        transaction = self.transaction
        if transaction is None or transaction.id != id:
            raise StorageTransactionError("not the current transaction of this client")
        return transaction

    def collecting(self, id: int) -> CommitLog:
        """Return where the operations of the current transaction go.

        :raises ZODB.POSException.StorageTransactionError: it is another one, or has voted.
        """
        transaction = self.current(id)
        transaction.expect("store")
        return transaction.commit_log

    def cancel_upload(self) -> None:
        """Forget the blob that the client is sending, if it is sending one."""
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.cancel()

    # What the protocol says.

    def failed(self, error: Exception) -> bool:
        """A one-way call failed. Return whether the client will hear of it: from its vote."""
        transaction = self.transaction
        if transaction is None or transaction.phase is not Phase.COLLECTING:
            return False
        transaction.fail(error)
        return True

    async def lost(self, is_told: bool = False) -> None:
        """The client is gone: release all that it holds.

        :param is_told: the log says so already, or need not.
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
        # A slow call may be using one.
        await self._slow.run(self.iterators.close)

    def _log_end(self) -> None:
        transaction = self.transaction
        if transaction is None and not self.is_labelled:
            self._log.debug("({label}) disconnected", label=self.label)
        elif self.admit(Kind.CAME_OR_WENT):
            what = "" if transaction is None else f" during {_held(transaction)} transaction"
            self._log.info("({label}) disconnected{what}", label=self.label, what=what)

    # The methods that the storage calls: see `storage.served.Listener`.

    def tell(self, news: Broadcast) -> None:
        self.peer.tell(news)

    def send(self) -> None:
        self.peer.send()

    def drop(self, reason: str) -> None:
        self.peer.drop(reason)

    def admit(self, kind: Kind) -> bool:
        return self.peer.admit(kind)


def _held(transaction: ServerTransaction) -> str:
    """Return what ZEO's log lines call a transaction that has the commit lock, or has not."""
    return "locked" if transaction.has_lock else "unlocked"
