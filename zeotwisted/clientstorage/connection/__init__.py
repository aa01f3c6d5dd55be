"""The life of a client's connection: found, verified, used, lost, found again.

`states` has the table of it, `connection` follows it; `search` and `candidate` find a server,
`verification` brings the cache up to date; `security` gives TLS; `link` is what threads use.
Rule: at most one connection is in use, and only after its verification.
"""

from __future__ import annotations

from .address import parse_address
from .connection import ClientConnection
from .link import Link
from .security import client_security
from .target import Target, Wanted

__all__ = [
    "ClientConnection",
    "Link",
    "Target",
    "Wanted",
    "client_security",
    "parse_address",
]
