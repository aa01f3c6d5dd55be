"""The client's connection: finds a server, verifies the cache, reconnects after a loss.

`states` has the table of states, and `connection` implements it. `search` and `candidate` find a
server. `security` adds TLS, and `authentication` proves the user name, for which `credentials` has
the password. `verification` brings the cache up to date. `pauses` lie between attempts. Threads use
`link`.
Rule: at most one connection is in use, and only after its verification.
"""

from __future__ import annotations

from .address import parse_address
from .connection import ClientConnection
from .credentials import credentials_from
from .link import Link
from .security import client_security
from .target import Target, Wanted
from .verification import missed_changes

__all__ = [
    "ClientConnection",
    "Link",
    "Target",
    "Wanted",
    "client_security",
    "credentials_from",
    "missed_changes",
    "parse_address",
]
