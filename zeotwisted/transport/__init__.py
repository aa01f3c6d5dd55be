"""The layer between the protocol and the socket, for clients and servers.

`sockets` sets the options of sockets and sends directly, without waiting for the reactor. `tls`
encrypts, `certificates` are those of both ends, and `tlserrors` explains TLS errors.
`liveness` notices a dead peer. `unixsocket` listens at a path.
Rule: nothing here decodes a message.
"""

from __future__ import annotations

from .activation import NoSuchSocket, passed_endpoint
from .certificates import own_certificate, peer_certificate
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
    "NoSuchSocket",
    "ReadSize",
    "Silence",
    "TLSFactory",
    "UnixSocketEndpoint",
    "bottom",
    "direct_sender",
    "handshake_error",
    "own_certificate",
    "passed_endpoint",
    "peer_certificate",
    "sender",
    "set_tcp_options",
    "unix_endpoint",
    "unsent",
]
