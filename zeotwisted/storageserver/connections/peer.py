"""The protocol as a client's session uses it, and its replacement after the connection is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, succeed

from zeotwisted.access import ANONYMOUS, Identity
from zeotwisted.protocol import Broadcast

__all__ = ["Answer", "Gone", "Peer"]


class Peer(Protocol):
    """The methods of the protocol that a session uses."""

    #: The name of the client in log lines.
    label: str
    #: A number that no other connection of this server has had.
    number: int
    #: The host of the client, or "this machine".
    host: str
    #: Returns whether to write one more log line of a kind about the client.
    admit: Callable[..., bool]

    @property
    def is_extended(self) -> bool:
        """Whether the client uses version 6 of the protocol: a client of zeotwisted does."""

    @property
    def encoding(self) -> bytes:
        """The letter of the encoding, see `zeotwisted.protocol.codecs`."""

    def identity(self) -> Identity:
        """Return who the client is, as far as its connection proves it."""

    def certificate(self) -> bytes | None:
        """Return the server's own certificate (DER); None without TLS, or if it is not known."""

    def registered(self) -> None:
        """Allow all calls: the client has registered."""

    def push(self, name: str, *args: Any) -> None:
        """Send a call that is not answered."""

    def tell(self, news: Broadcast) -> None:
        """Queue a broadcast. It leaves with the next message, or with `send`."""

    def send(self) -> None:
        """Send what is queued."""

    def drop(self, reason: str) -> None:
        """Log the reason and end the connection."""

    def writable(self) -> Deferred[None]:
        """Return a Deferred that fires when there is room for more bulk data."""


class Gone:
    """Replaces the peer when the connection is lost. Its methods do nothing.

    Calls that are not finished yet use this object. They do not keep the protocol in memory.
    """

    def __init__(self, peer: Peer) -> None:
        self.label = peer.label
        self.number = peer.number
        self.host = peer.host
        self.is_extended = peer.is_extended
        self.encoding = peer.encoding
        self.admit = peer.admit

    def identity(self) -> Identity:
        return ANONYMOUS

    def certificate(self) -> bytes | None:
        return None

    def registered(self) -> None: ...

    def push(self, name: str, *args: Any) -> None: ...

    def tell(self, news: Broadcast) -> None: ...

    def send(self) -> None: ...

    def drop(self, reason: str) -> None: ...

    def writable(self) -> Deferred[None]:
        return succeed(None)


class Answer(NamedTuple):
    """The answer to ``tpc_finish``, which is written together with the storage's sizes."""

    value: Any
    #: The new sizes. They are sent before the answer, so that the client has them when it gets the
    #: answer.
    info: dict[str, Any]
    #: Called as soon as the answer is written.
    then: Callable[[], None]
