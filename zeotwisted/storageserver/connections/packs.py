"""The calls about packs: to begin one, to see how far it is, and to end it."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.POSException import POSError, ReadOnlyError

from zeotwisted.files import is_full
from zeotwisted.protocol import Role

from ..floods import Kind, brief
from ..storage import PackInterrupted
from .connection import ServerConnection
from .fulldisk import told

_log = Logger()

#: How far (seconds) a pack time may be in the future, because the client's clock may be ahead of
#: the server's. A later pack time is an error. The second number is for ZEO's clients: a test of
#: ZODB packs to a time in the future.
_SKEW = 60.0
_STOCK_SKEW = 86400.0


def remote_pack(client: ServerConnection, time: float, wait: bool | int | None = True) -> Any:
    _check_may_pack(client)
    # The client is told that even if it does not wait for the end of its pack.
    client.served.packs.check_idle()
    packed = Deferred.fromCoroutine(_pack(client, client.served.pack_time(time, _patience(client))))
    if wait:
        return packed
    packed.addErrback(partial(_pack_failed, client))
    return None


def _pack_failed(client: ServerConnection, failure: Failure) -> None:
    error = failure.value
    assert isinstance(error, Exception)
    if isinstance(error, PackInterrupted) or not client.admit(Kind.CALL):
        # The log has a line about an interruption already.
        return
    about: dict[str, Any] = {"label": client.label, "storage_id": client.served.storage_id}
    if isinstance(error, POSError) or is_full(error):
        _log.warn("({label}) pack failed: {error}", error=brief(told(error)), **about)
    else:
        _log.failure("({label}) pack failed", failure, **about)


def _check_may_pack(client: ServerConnection) -> None:
    if client.served.read_only:
        raise ReadOnlyError(f"storage {client.served.storage_id!r} is served read-only")
    # ZEO's tools for packing register as readers. A client that has the role pack, and not write,
    # cannot register for writing.
    if client.read_only and client.peer.is_extended and Role.WRITE in client.roles:
        raise ReadOnlyError("this client is read-only; open it for writing to pack")


def _patience(client: ServerConnection) -> float:
    """Return how far (seconds) a pack time of this client may be in the future."""
    return _SKEW if client.peer.is_extended else _STOCK_SKEW


async def _pack(client: ServerConnection, time: float) -> None:
    served = client.served
    is_told = client.admit(Kind.PACK)
    about: dict[str, Any] = {"label": client.label, "id": served.storage_id}
    if is_told:
        _log.info("({label}) pack of {id!r} begins", **about)
    await served.pack(time)
    if is_told:
        _log.info("({label}) pack of {id!r} is done", **about)


def remote_pack_progress(client: ServerConnection) -> dict[str, Any]:
    return client.served.packs.report()._asdict()


def remote_pack_room(client: ServerConnection) -> tuple[int, int] | None:
    return client.served.packs.room()


def remote_cancel_pack(client: ServerConnection) -> int:
    running = client.served.packs.cancel()
    if running and client.admit(Kind.PACK):
        _log.info(
            "({label}) cancels the pack of {id!r}", label=client.label, id=client.served.storage_id
        )
    return running
