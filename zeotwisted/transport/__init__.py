"""What both ends need between the protocol and the socket.

`sockets` sends without a detour through the reactor and tunes a socket, `tls` encrypts, `tlserrors`
explains why that fails, `liveness` notices a dead peer, `unixsocket` listens at a path.
Rule: nothing here knows what a message means.
"""

from __future__ import annotations

from .liveness import Liveness, Manners, Silence
from .sockets import (
    DirectSender,
    DirectWriter,
    EncryptingSender,
    ReadSize,
    bottom,
    direct_sender,
    sender,
    set_tcp_options,
    unsent,
)
from .tls import TLSFactory
from .tlserrors import HandshakeError, handshake_error
from .unixsocket import UnixSocketEndpoint, unix_endpoint

__all__ = [
    "DirectSender",
    "DirectWriter",
    "EncryptingSender",
    "HandshakeError",
    "Liveness",
    "Manners",
    "ReadSize",
    "Silence",
    "TLSFactory",
    "UnixSocketEndpoint",
    "bottom",
    "direct_sender",
    "handshake_error",
    "sender",
    "set_tcp_options",
    "unix_endpoint",
    "unsent",
]
