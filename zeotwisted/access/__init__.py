"""Who a client is, and which roles it has for a storage.

`names` are the names that a configuration gives roles to. `identity` is one client: the names that
it has proved. `policy` decides which roles an identity has. `accounts` are user names with
verifiers of their passwords, `login` is one attempt to prove a user name, and `throttle` slows down
a host that guesses.
Rule: nothing here imports Twisted or opens a connection. A configuration is checked without them.
"""

from __future__ import annotations

from .accounts import (
    AccountFile,
    AccountFileError,
    Accounts,
    Verifier,
    check_user,
    is_readable_by_others,
    read_accounts,
    verifier,
    write_accounts,
)
from .identity import ANONYMOUS, Identity
from .login import BOUND, UNBOUND, Login, LoginFailed, channel_binding, made_up, mechanisms
from .names import EVERYBODY, parse_name, parse_names
from .policy import OPEN, Access, Policy
from .throttle import Throttle

__all__ = [
    "ANONYMOUS",
    "BOUND",
    "EVERYBODY",
    "OPEN",
    "UNBOUND",
    "Access",
    "AccountFile",
    "AccountFileError",
    "Accounts",
    "Identity",
    "Login",
    "LoginFailed",
    "Policy",
    "Throttle",
    "Verifier",
    "channel_binding",
    "check_user",
    "is_readable_by_others",
    "made_up",
    "mechanisms",
    "parse_name",
    "parse_names",
    "read_accounts",
    "verifier",
    "write_accounts",
]
