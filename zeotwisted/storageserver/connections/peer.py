"""What a client's session needs from the protocol below it, and what takes its place at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, succeed

from zeotwisted.protocol import Broadcast

__all__ = ["Answer", "Gone", "Peer"]


class Peer(Protocol):
    """The protocol below a session."""

    #: How log lines call the other end.
    label: str
    #: Returns whether to write one more log line of a kind, which the client has caused.
    admit: Callable[..., bool]

    @property
    def is_extended(self) -> bool:
        """Whether the client is one of ours, too."""

    @property
    def encoding(self) -> bytes:
        """The letter of the encoding, see `zeotwisted.protocol.codecs`."""

    def registered(self) -> None:
        """All calls are allowed now."""

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
    """Takes the peer's place when the connection is lost, and does nothing.

    Calls that are still under way have an object to talk to, and do not keep the connection in
    memory.
    """

    def __init__(self, peer: Peer) -> None:
        self.label = peer.label
        self.is_extended = peer.is_extended
        self.encoding = peer.encoding
        self.admit = peer.admit

    def registered(self) -> None: ...

    def push(self, name: str, *args: Any) -> None: ...

    def tell(self, news: Broadcast) -> None: ...

    def send(self) -> None: ...

    def drop(self, reason: str) -> None: ...

    def writable(self) -> Deferred[None]:
        return succeed(None)


class Answer(NamedTuple):
    """The answer to a commit, which is written together with the storage's `info`."""

    value: Any
    #: The new info. It is sent before the answer: the client may read it once it has the answer.
    info: dict[str, Any]
    #: What to do as soon as it is written.
    then: Callable[[], None]
