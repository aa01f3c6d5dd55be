"""The wire: bytes in, messages out. ``docs/reference/protocol.rst`` specifies it.

`session` is one end of a connection. `framing`, `codecs` and `pickles` are the layers below it.
`methods` lists the calls with the `roles` that they need, and `bounds` limits the cost of decoding
them. `capabilities` is what both ends agree on. `errors` and `extensions` encode exceptions and
application data. `frequent` recognises the most frequent messages. `ahead` encodes records that an
answer brings besides the one that was asked for.
Rule: nothing here does I/O, reads a clock, starts a thread or imports Twisted.
"""

from __future__ import annotations

from . import methods
from .ahead import Ahead, pack_ahead, unpack_ahead
from .capabilities import (
    AUTHENTICATE,
    CHANGES,
    DROPPED,
    GOODBYE,
    LOAD_AHEAD,
    MARK_AT_VOTE,
    OPERATORS,
    SHARED,
    STANDBY,
    TID_AT_VOTE,
    VOTE_WITHIN,
    WARM_START,
    Capabilities,
    agreed,
)
from .codecs import LONG, EncodeError, MessageId
from .extensions import EMPTY, Unreadable, described, plain, stored, with_entry
from .framing import MAX_FRAME, FrameTooLarge, encode_frame
from .methods import SERVER_CALLS, Call
from .oids import are_joined, numbers, split
from .pickles import PickleError, dumps
from .roles import ALL_ROLES, WRITING, Role, expanded
from .session import (
    DEFAULT_LIMIT,
    EXTENDED,
    Broadcast,
    Called,
    ClientHandshake,
    Event,
    Failed,
    HandshakeDone,
    Replied,
    ServerHandshake,
    Session,
    StatusRequested,
    WireError,
    refusal,
)

__all__ = [
    "ALL_ROLES",
    "AUTHENTICATE",
    "CHANGES",
    "DEFAULT_LIMIT",
    "DROPPED",
    "EMPTY",
    "EXTENDED",
    "GOODBYE",
    "LOAD_AHEAD",
    "LONG",
    "MARK_AT_VOTE",
    "MAX_FRAME",
    "OPERATORS",
    "SERVER_CALLS",
    "SHARED",
    "STANDBY",
    "TID_AT_VOTE",
    "VOTE_WITHIN",
    "WARM_START",
    "WRITING",
    "Ahead",
    "Broadcast",
    "Call",
    "Called",
    "Capabilities",
    "ClientHandshake",
    "EncodeError",
    "Event",
    "Failed",
    "FrameTooLarge",
    "HandshakeDone",
    "MessageId",
    "PickleError",
    "Replied",
    "Role",
    "ServerHandshake",
    "Session",
    "StatusRequested",
    "Unreadable",
    "WireError",
    "agreed",
    "are_joined",
    "described",
    "dumps",
    "encode_frame",
    "expanded",
    "methods",
    "numbers",
    "pack_ahead",
    "plain",
    "refusal",
    "split",
    "stored",
    "unpack_ahead",
    "with_entry",
]
