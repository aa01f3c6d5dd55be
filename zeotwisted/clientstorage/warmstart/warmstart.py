"""The warm start of a storage."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import WARM_START, Capabilities

from ..calls import ClientProtocol
from ..records import Coherence
from .bringing import Bringing
from .telling import Telling

__all__ = ["WarmStart", "offers"]

_log = logging.getLogger("zeotwisted.client")


def offers(wanted: bool | str) -> Capabilities:
    """Return what a client offers to a server.

    :param wanted: see `ClientStorage`; a text is the name of a group.
    """
    if not wanted:
        return {}
    return {WARM_START: {"group": wanted} if isinstance(wanted, str) else {}}


class WarmStart:
    """Begins the cache of a storage with what other clients use most.

    :param is_cold: whether the cache is a new one. If not, it only tells the server what is used.
    :param offered: what `offers` has returned.
    :param label: what the client calls itself; None if it does not.
    :param room: how many bytes the cache may have.
    :param name: the name of the client in log lines.
    """

    def __init__(
        self,
        coherence: Coherence,
        is_cold: bool,
        offered: Capabilities,
        label: str | bytes | None,
        room: int,
        name: str,
    ) -> None:
        self._coherence = coherence
        self._is_cold = is_cold
        self._room = room
        self._name = name
        self._whose = _whose(offered.get(WARM_START, {}).get("group"), label)
        self._records = self._size = 0

    def report(self) -> dict[str, int]:
        """Return what has been brought in."""
        return {"warm_records": self._records, "warm_bytes": self._size}

    def connected(self, protocol: ClientProtocol, reactor: Any) -> None:
        """Begin, or go on after the last connection; in the reactor's thread.

        :param protocol: a connection that may be used from now on.
        """
        if WARM_START not in protocol.capabilities:
            return
        telling = Telling(
            self._coherence.requested,
            lambda oids: protocol.oneway("used_oids", oids),
            reactor.callLater,
        )
        protocol.lost.addCallback(lambda _: telling.stop())
        if self._is_cold:
            self._bring(protocol, reactor)
        else:
            # What it loads now is not what it uses most: that is in its cache.
            protocol.oneway("used_oids", b"")

    def _bring(self, protocol: ClientProtocol, reactor: Any) -> None:
        began = perf_counter()

        def over(error: BaseException | None) -> None:
            if bringing.records:
                self._records += bringing.records
                self._size += bringing.size
                _log.info(
                    "%s: brought %d records (%d bytes) that other clients %s use most, in %.1f "
                    "seconds",
                    self._name,
                    bringing.records,
                    bringing.size,
                    self._whose,
                    perf_counter() - began,
                )
            # The next connection brings the rest.
            self._is_cold = isinstance(error, ClientDisconnected)
            if error is not None and not self._is_cold:
                _log.error("%s: the warm start has failed: %s", self._name, error)

        bringing = Bringing(protocol, self._coherence, reactor, over, self._room)
        protocol.lost.addCallback(lambda _: bringing.stop(ClientDisconnected()))
        bringing.go_on()


def _whose(group: str | None, label: str | bytes | None) -> str:
    if group:
        return f"of the group {group!r}"
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    return f"with the label {label!r}" if label else "without a label"
