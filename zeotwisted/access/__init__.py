"""Who a client is, and which roles it has for a storage.

`names` are the names that a configuration gives roles to. `identity` is one client: the names that
it has proved. `policy` decides which roles an identity has.
Rule: nothing here does I/O or imports Twisted. A configuration is checked without a server.
"""

from __future__ import annotations

from .identity import ANONYMOUS, Identity
from .names import EVERYBODY, parse_name, parse_names
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
]
