"""One end of a connection: the handshake, then calls and answers.

`Session` decodes received bytes to events, and encodes the bytes to send. It does no I/O. The table
`TRANSITIONS` says what is allowed in each state. After an error the session is closed, because the
rest of the stream cannot be decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple, Protocol, TypeAlias

from .codecs import CODECS, Codec, MessageId, UndecodableMessage
from .errors import exception_from_wire, exception_to_wire
from .framing import FrameDecoder, FrameTooLarge, encode_frame, frame_pieces
from .frequent import LOADS, Load
from .methods import (
    CLIENT_CALLS,
    SERVER_CALLS,
    BadArguments,
    Call,
    allowance,
)

__all__ = [
    "DEFAULT_LIMIT",
    "EXTENDED",
    "STATUS_REQUEST",
    "TRANSITIONS",
    "Broadcast",
    "Called",
    "ClientHandshake",
    "Failed",
    "Handshake",
    "HandshakeDone",
    "Input",
    "Replied",
    "ServerHandshake",
    "Session",
    "State",
    "StatusRequested",
    "WireError",
    "refusal",
]

#: The version of ZEO 5 and 6.
STOCK = b"5"
#: The version between two zeotwisted ends. Its encoding is always msgpack.
EXTENDED = b"6"

#: What a monitoring client sends in place of a version.
STATUS_REQUEST = b"ruok"

#: Limit in bytes for frames before `Session.registered`. All valid frames are short then.
_UNREGISTERED_LIMIT = 4096

#: Default limit in bytes for frames after `Session.registered`.
DEFAULT_LIMIT = 2**30

#: The beginning of what a server sends in place of its announcement if it refuses a connection; the
#: reason follows. To a client of ZEO, this is a version that it does not know, and it logs all of
#: it.
_REFUSAL = b"Z0 refused: "

#: How many bytes of a reason are sent.
_LONGEST_REASON = 500

_LOAD_BEFORE = SERVER_CALLS["loadBefore"]

_REPLY = ".reply"
_KEEP_ALIVE = -1

#: Smaller ids fit into 31 bits, as `Codec.encode_load` requires.
_SMALL_ID = 2**31


class WireError(Exception):
    """The peer violated the protocol. The connection cannot be used any more."""


class HandshakeDone(NamedTuple):
    """The two ends have agreed on encoding and version."""

    #: For example ``b"M6"``.
    protocol: bytes


class StatusRequested(NamedTuple):
    """A monitoring client requests a status frame. Send it, then close the connection."""


class Called(NamedTuple):
    """The peer calls. The arguments have been checked against the table of calls."""

    #: None if the peer does not wait for an answer.
    id: MessageId | None
    call: Call
    args: tuple[Any, ...]
    #: Set if the arguments are wrong; `args` is empty then.
    error: BadArguments | None


class Replied(NamedTuple):
    """The peer answers a call."""

    id: MessageId
    value: Any


class Failed(NamedTuple):
    """The peer answers a call with an exception."""

    id: MessageId
    error: Exception


Event: TypeAlias = "HandshakeDone | StatusRequested | Called | Replied | Failed"


class State(Enum):
    """The state of a session."""

    HANDSHAKE = "waiting for the peer's version"
    UNREGISTERED = "waiting for the storage to be chosen"
    OPEN = "open"
    CLOSED = "closed"


class Input(Enum):
    """The kinds of events that may change the state."""

    VERSION = "version"
    STATUS = "status request"
    OPENING = "call of the opening"
    REGISTERED = "registration"
    CALL = "call"
    LAST_CALL = "last call"
    ANSWER = "answer"
    ERROR = "error"


#: In this state, a call of the opening is an error. Other calls and answers do not change it.
_OPEN = State.OPEN

#: The next state. A pair that is not in this table is an error.
TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.HANDSHAKE, Input.VERSION): State.UNREGISTERED,
    (State.HANDSHAKE, Input.STATUS): State.CLOSED,
    (State.UNREGISTERED, Input.OPENING): State.UNREGISTERED,
    (State.UNREGISTERED, Input.ANSWER): State.UNREGISTERED,
    (State.UNREGISTERED, Input.LAST_CALL): State.CLOSED,
    (State.UNREGISTERED, Input.REGISTERED): State.OPEN,
    (State.OPEN, Input.CALL): State.OPEN,
    (State.OPEN, Input.ANSWER): State.OPEN,
    (State.OPEN, Input.LAST_CALL): State.CLOSED,
} | {(state, Input.ERROR): State.CLOSED for state in State}


class Handshake(Protocol):
    """One end's part of the choice of encoding and version."""

    @property
    def calls(self) -> Mapping[str, Call]:
        """The calls that the peer may make."""

    def opening(self) -> bytes | None:
        """Return the contents of the first frame to send, or None if the peer sends first."""

    def received(self, frame: bytes) -> tuple[Input, bytes, bytes | None]:
        """Return the kind of input, the agreed protocol, and the contents of the frame to send.

        :raises WireError: there is no protocol that both ends know.
        """


class ServerHandshake:
    """The server announces its newest protocol; the client answers with its choice.

    :param msgpack: announce msgpack. Stock clients use the encoding that the server announces.
    :param extended: announce version 6. Stock clients then choose 5.
    """

    calls = SERVER_CALLS

    def __init__(self, msgpack: bool = False, extended: bool = True) -> None:
        self._announced = (b"M" if msgpack else b"Z") + (EXTENDED if extended else STOCK)
        self._accepted = {b"Z5", b"M5"} | ({b"M6"} if extended else set())

    def opening(self) -> bytes:
        return self._announced

    def received(self, frame: bytes) -> tuple[Input, bytes, None]:
        if frame == STATUS_REQUEST:
            return Input.STATUS, frame, None
        if frame not in self._accepted:
            known = ", ".join(sorted(name.decode() for name in self._accepted))
            raise WireError(
                f"not a ZEO client, or too old: it answered {frame[:40]!r} where one of "
                f"{known} was expected"
            )
        return Input.VERSION, frame, None


class ClientHandshake:
    """The client waits for the announcement and answers with the newest protocol of both ends."""

    calls = CLIENT_CALLS

    def opening(self) -> None:
        return None

    def received(self, frame: bytes) -> tuple[Input, bytes, bytes]:
        if frame.startswith(_REFUSAL):
            reason = frame[len(_REFUSAL) :].decode("utf-8", "replace")
            raise WireError(f"the server accepts no connection: {reason}")
        letter, version = frame[:1], frame[1:]
        # Versions are compared as byte strings, as in stock clients. The lower one is used, so that
        # a client can connect to a server that announces a newer version.
        version = min(version, EXTENDED)
        if letter not in CODECS or version not in (STOCK, EXTENDED):
            raise WireError(
                f"not a ZEO server, or too old: it announced {frame[:40]!r} where Z5, M5 or "
                "newer was expected"
            )
        protocol = b"M6" if version == EXTENDED else letter + version
        return Input.VERSION, protocol, protocol


def _input_of(call: Call) -> Input:
    if call.last:
        return Input.LAST_CALL
    return Input.OPENING if call.opening else Input.CALL


def refusal(reason: str) -> bytes:
    """Return the frame for a client that is refused before the handshake."""
    return encode_frame(_REFUSAL + reason.encode("utf-8", "replace")[:_LONGEST_REASON])


def _quoted(data: bytes) -> str:
    # The first bytes of a TLS alert or of a TLS handshake message.
    tls = data[:2] in (b"\x15\x03", b"\x16\x03")
    return f"{data[:40]!r}" + (", which is TLS; both ends have to use it, or none" if tls else "")


class Broadcast:
    """A one-way call to many peers. It is encoded once for each encoding."""

    __slots__ = ("_frames", "_message")

    def __init__(self, name: str, *args: Any) -> None:
        self._message = (0, 1, name, args)
        self._frames: dict[bytes, bytes] = {}

    def frame(self, codec: Codec) -> bytes:
        """Return the frame in this encoding. Raises the same exceptions as `Session.call`."""
        frame = self._frames.get(codec.letter)
        if frame is None:
            frame = self._frames[codec.letter] = encode_frame(codec.encode(self._message))
        return frame


class Session:
    """One end of a connection.

    After the handshake, the methods that return bytes to send may be called from any thread. Only
    one thread at a time may call `receive`.

    :param limit: the longest frame to accept once registered, in bytes.
    """

    def __init__(self, handshake: Handshake, limit: int = DEFAULT_LIMIT) -> None:
        self.state = State.HANDSHAKE
        #: The agreed encoding and version, for example ``b"M6"``; empty before the handshake.
        self.protocol = b""
        self._handshake = handshake
        self._calls = handshake.calls
        self._allowance = allowance(self._calls)
        self._limit = limit
        self._frames = FrameDecoder(min(_UNREGISTERED_LIMIT, limit))
        self._version = b""
        self._extended = False
        # Decodes ``loadBefore``, the most frequent call; None while calls are not allowed.
        self._load: Callable[[bytes | bytearray], Load | None] | None = None
        self._codec: Codec = CODECS[b"Z"]
        #: The bytes to send first. The owner sends them and clears this.
        self.greeting = b""
        opening = handshake.opening()
        if opening is not None:
            self.greeting = encode_frame(opening)

    @property
    def incomplete(self) -> int:
        """How many bytes of a message that has not arrived completely are in memory."""
        return self._frames.incomplete

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield the events that `data` completes, in the order of the wire.

        The iterator must be exhausted before the next call, unless the connection ends. It decodes
        a message only after the caller has handled the events before it, because these may change
        the state.

        :raises WireError: the peer violated the protocol.
        """
        if self.state is State.CLOSED:
            # After an error the position of the next frame is unknown.
            return
        try:
            for frame in self._frames.feed(data):
                if self.state is State.CLOSED:
                    return
                event = self._event(frame)
                if event is not None:
                    yield event
        except FrameTooLarge as error:
            self._to(Input.ERROR)
            if not self.protocol:
                raise WireError(f"not a ZEO peer: it sent {_quoted(data)}") from error
            raise WireError(str(error)) from error

    def receive_alone(self, data: bytes) -> tuple[Event, ...] | None:
        """Return the events of `data` if it is exactly one frame, otherwise None.

        This is the fast path of calls and answers. If it returns None, no state has changed: pass
        `data` to `receive`.

        :raises WireError: the peer violated the protocol.
        """
        if self.state is not _OPEN:
            return None
        frame = self._frames.whole(data)
        if frame is None:
            return None
        event = self._event(frame)
        return () if event is None else (event,)

    def answer(self, data: bytes) -> tuple[MessageId, Any] | None:
        """Return the id and the value if `data` is exactly one answer, otherwise None.

        This is the fast path of a thread that waits for an answer. If it returns None, no state has
        changed: pass `data` to `receive`.
        """
        frame = self._frames.whole(data) if self.state is _OPEN else None
        if frame is None:
            return None
        try:
            id, flag, name, value = self._codec.decode(frame, self._allowance)
        except UndecodableMessage:
            return None
        return None if flag or name != _REPLY or id == _KEEP_ALIVE else (id, value)

    def close(self) -> None:
        """Close the session and discard an incomplete message; call it when the connection ends."""
        self._to(Input.ERROR)
        self._frames = FrameDecoder(0)

    def registered(self) -> None:
        """Allow all calls and long frames; call it when the client has chosen a storage."""
        self._to(Input.REGISTERED)
        if self._calls.get("loadBefore") is _LOAD_BEFORE:
            self._load = LOADS[self._codec.letter]
        self._frames.limit = self._limit

    def call(self, id: MessageId, name: str, *args: Any) -> bytes:
        """Return the frame that calls `name` and requests an answer.

        :raises EncodeError: an argument cannot be sent.
        :raises FrameTooLarge: the arguments are longer than a frame can be.
        """
        return encode_frame(self._codec.encode((id, 0, name, args)))

    def load(self, id: int, oid: bytes, tid: bytes) -> bytes:
        """Return a frame equivalent to ``call(id, "loadBefore", oid, tid)``, but faster."""
        if len(oid) == 8 == len(tid) and id < _SMALL_ID:
            return encode_frame(self._codec.encode_load(id, oid, tid))
        return self.call(id, "loadBefore", oid, tid)

    def oneway(self, name: str, *args: Any) -> bytes:
        """Return the frame that calls `name` without an answer.

        Raises the same exceptions as `call`.
        """
        return encode_frame(self._codec.encode((0, 1, name, args)))

    def broadcast(self, call: Broadcast) -> bytes:
        """Return the frame of `call` in this session's encoding.

        Raises the same exceptions as `call`.
        """
        return call.frame(self._codec)

    def oneway_pieces(self, name: str, *args: Any) -> list[bytes]:
        """Like `oneway`, but return a list of pieces; long arguments are not copied if possible."""
        return frame_pieces(self._codec.encode_pieces((0, 1, name, args)))

    def reply(self, id: MessageId, value: Any) -> bytes:
        """Return the frame that answers a call. Raises the same exceptions as `call`."""
        return encode_frame(self._codec.encode((id, 0, _REPLY, value)))

    def failure(self, id: MessageId, error: BaseException) -> bytes:
        """Return the frame that answers a call with an exception."""
        return encode_frame(
            self._codec.encode((id, 2, _REPLY, exception_to_wire(error, self._extended)))
        )

    def keep_alive(self) -> bytes:
        """Return a frame that the peer ignores; it shows that this end is alive."""
        return encode_frame(self._codec.encode((_KEEP_ALIVE, 0, _REPLY, None)))

    def _to(self, input: Input) -> None:
        state = TRANSITIONS.get((self.state, input))
        if state is None:
            before, self.state = self.state, State.CLOSED
            raise WireError(f"{input.value} while {before.value}")
        self.state = state

    def _event(self, frame: bytes | bytearray) -> Event | None:
        try:
            if self._load is not None:
                load = self._load(frame)
                if load is not None:
                    return Called(load[0], _LOAD_BEFORE, load[1], None)
            if self.state is State.HANDSHAKE:
                return self._shake_hands(bytes(frame))
            id, flag, name, args = self._codec.decode(frame, self._allowance)
            if name == _REPLY:
                return self._answered(id, flag, args)
            return self._called(id, flag, name, args, len(frame))
        except UndecodableMessage as error:
            self._to(Input.ERROR)
            raise WireError(f"undecodable message: {error}") from error
        except WireError:
            self._to(Input.ERROR)
            raise

    def _shake_hands(self, frame: bytes) -> Event:
        input, protocol, answer = self._handshake.received(frame)
        self._to(input)
        if input is Input.STATUS:
            return StatusRequested()
        self.protocol = protocol
        self._version = protocol[1:]
        self._extended = self._version == EXTENDED
        self._codec = CODECS[protocol[:1]]
        if answer is not None:
            self.greeting = encode_frame(answer)
        return HandshakeDone(protocol)

    def _answered(self, id: MessageId, flag: int, args: Any) -> Event | None:
        if id == _KEEP_ALIVE:
            return None
        if self.state is not _OPEN:
            self._to(Input.ANSWER)
        if flag:
            return Failed(id, exception_from_wire(args))
        return Replied(id, args)

    def _called(self, id: MessageId, flag: int, name: str, args: Any, size: int) -> Event:
        call = self._calls.get(name)
        if call is None or call.version > self._version:
            raise WireError(f"unknown call: {name[:40]!r}")
        if self.state is not _OPEN or call.opening or call.last:
            self._to(_input_of(call))
        if flag and not call.oneway:
            raise WireError(f"{name} must wait for its answer")
        try:
            if size > call.longest:
                raise BadArguments(f"{name}: more than {call.longest} bytes")
            call.check(args, self._extended)
        except BadArguments as error:
            return Called(None if flag else id, call, (), error)
        return Called(None if flag else id, call, args, None)
