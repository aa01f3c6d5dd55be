"""Who a client is, and which roles it has for a storage.

`names` are the names that a configuration gives roles to. `identity` is one client: the names that
it has proved. `peers` reads them from a certificate or from the process at the other end of a Unix
socket. `policy` decides which roles an identity has.
Rule: nothing here sends or receives a message.
"""

from __future__ import annotations

from .identity import ANONYMOUS, Identity
from .names import EVERYBODY, parse_name, parse_names
from .peers import peer_identity
from .policy import OPEN, Access, Policy

__all__ = [
    "ANONYMOUS",
    "EVERYBODY",
    "OPEN",
    "Access",
    "Identity",
    "Policy",
    "parse_name",
    "parse_names",
    "peer_identity",
]
