"""The states of a client's connection, and the transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

__all__ = ["TRANSITIONS", "USABLE", "Input", "State"]


class State(Enum):
    """The states of a `ClientConnection`. The values appear in messages."""

    IDLE = "not started"
    CONNECTING = "connecting"
    ESTABLISHING = "verifying"
    READY = "connected"
    FALLBACK = "connected to a read-only server, while no other is there"
    PAUSING = "waiting for the next attempt"
    CLOSED = "closed"


class Input(Enum):
    """The events that change the state."""

    START = "start"
    FOUND = "a server is found"
    NOT_FOUND = "none is found"
    ESTABLISHED = "server and client agree"
    MAKESHIFT = "they agree, but we wanted to write"
    LOST = "the connection is lost"
    RETRY = "time for the next search"
    RESTART = "search at other addresses"
    CLOSE = "close"


#: An input that is not in this table is ignored: it comes too late.
TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.IDLE, Input.START): State.CONNECTING,
    (State.CONNECTING, Input.FOUND): State.ESTABLISHING,
    (State.CONNECTING, Input.NOT_FOUND): State.PAUSING,
    (State.CONNECTING, Input.RESTART): State.CONNECTING,
    (State.ESTABLISHING, Input.ESTABLISHED): State.READY,
    (State.ESTABLISHING, Input.MAKESHIFT): State.FALLBACK,
    (State.ESTABLISHING, Input.LOST): State.PAUSING,
    (State.READY, Input.LOST): State.PAUSING,
    (State.FALLBACK, Input.LOST): State.PAUSING,
    (State.FALLBACK, Input.RETRY): State.FALLBACK,
    (State.FALLBACK, Input.RESTART): State.FALLBACK,
    (State.FALLBACK, Input.NOT_FOUND): State.FALLBACK,
    (State.FALLBACK, Input.FOUND): State.ESTABLISHING,
    (State.PAUSING, Input.RETRY): State.CONNECTING,
    (State.PAUSING, Input.RESTART): State.CONNECTING,
} | {(state, Input.CLOSE): State.CLOSED for state in State if state is not State.CLOSED}

#: The states in which the connection may be used.
USABLE = (State.READY, State.FALLBACK)
