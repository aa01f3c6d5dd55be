"""What may happen when, and that nothing happens after an error."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol.codecs import CODECS, EncodeError
from zeotwisted.protocol.framing import FrameTooLarge, encode_frame
from zeotwisted.protocol.methods import CLIENT_CALLS, SERVER_CALLS
from zeotwisted.protocol.session import (
    TRANSITIONS,
    Broadcast,
    Called,
    ClientHandshake,
    Failed,
    HandshakeDone,
    Input,
    Replied,
    ServerHandshake,
    Session,
    State,
    StatusRequested,
    WireError,
)

OID = TID = b"\0" * 7 + b"\1"
LIMIT = 20_000


def encode(protocol: bytes, *message: Any) -> bytes:
    return encode_frame(CODECS[protocol[:1]].encode(message))  # type: ignore[arg-type]


def server(state: State = State.OPEN, protocol: bytes = b"M5") -> Session:
    """Return a server's session that is in `state`."""
    session = Session(ServerHandshake(), LIMIT)
    if state is State.CLOSED:
        with pytest.raises(WireError):
            list(session.receive(encode_frame(b"nonsense")))
    elif state is not State.HANDSHAKE:
        list(session.receive(encode_frame(protocol)))
        if state is State.OPEN:
            session.registered()
    assert session.state is state
    return session


def client(state: State = State.OPEN, protocol: bytes = b"M5") -> Session:
    """Return a client's session that is in `state`."""
    session = Session(ClientHandshake(), LIMIT)
    if state is State.CLOSED:
        session.close()
    elif state is not State.HANDSHAKE:
        list(session.receive(encode_frame(protocol)))
        if state is State.OPEN:
            session.registered()
    assert session.state is state
    return session


def test_a_broadcast_is_encoded_once_for_each_encoding() -> None:
    news = Broadcast("invalidateTransaction", TID, [OID])
    frames = {}
    for protocol in (b"Z5", b"M5", b"M6"):
        frames[protocol] = server(protocol=protocol).broadcast(news)
        assert server(protocol=protocol).broadcast(news) is frames[protocol]
        (event,) = client(protocol=protocol).receive(frames[protocol])
        assert (event.call.name, event.args[0], list(event.args[1])) == (
            "invalidateTransaction",
            TID,
            [OID],
        )
    assert frames[b"M5"] is frames[b"M6"]
    for protocol, frame in frames.items():
        assert frame == server(protocol=protocol).oneway("invalidateTransaction", TID, [OID])
    with pytest.raises(EncodeError):
        server().broadcast(Broadcast("info", {"name": object()}))


# --- states and inputs --------------------------------------------------------------------------


def apply(session: Session, input: Input) -> list[Any]:
    """Make `input` happen to `session`, from outside where it comes from there."""
    if input is Input.REGISTERED:
        session.registered()
        return []
    protocol = session.protocol or b"M5"
    frames = {
        Input.VERSION: encode_frame(b"M5"),
        Input.STATUS: encode_frame(b"ruok"),
        Input.OPENING: encode(protocol, 1, 0, "register", ("1", False)),
        Input.CALL: encode(protocol, 2, 0, "ping", ()),
        Input.LAST_CALL: encode(protocol, 0, 1, "dropped", ("a reason",)),
        Input.ANSWER: encode(protocol, 3, 0, ".reply", None),
        Input.ERROR: encode_frame(b"\xc1"),
    }
    return list(session.receive(frames[input]))


PRODUCT = list(itertools.product(State, Input))


@pytest.mark.parametrize(("state", "input"), PRODUCT)
def test_every_input_in_every_state(state: State, input: Input) -> None:
    # Only servers make a last call.
    session = client(state) if input is Input.LAST_CALL else server(state)
    after = TRANSITIONS.get((state, input))
    if state is State.CLOSED and input is not Input.REGISTERED:
        # What still arrives means nothing any more, not even an error.
        assert apply(session, input) == []
        assert session.state is State.CLOSED
        return
    if after is None or input is Input.ERROR:
        with pytest.raises(WireError):
            apply(session, input)
        assert session.state is State.CLOSED
    else:
        events = apply(session, input)
        assert session.state is after
        assert [type(event) for event in events] == {
            Input.VERSION: [HandshakeDone],
            Input.STATUS: [StatusRequested],
            Input.OPENING: [Called],
            Input.REGISTERED: [],
            Input.CALL: [Called],
            Input.LAST_CALL: [Called],
            Input.ANSWER: [Replied],
        }[input]


@pytest.mark.parametrize("state", [State.HANDSHAKE, State.UNREGISTERED, State.OPEN])
def test_nothing_comes_after_an_error(state: State) -> None:
    session = server(state)
    frames = b"".join(encode(b"M5", number, 0, "ping", ()) for number in range(3))
    with pytest.raises(WireError):
        list(session.receive(encode_frame(b"\xc1") + frames))
    for data in (frames, frames[:3], b"\xff" * 100, b"", encode_frame(b"M5")):
        assert list(session.receive(data)) == []
        assert session.state is State.CLOSED


def test_the_table_in_words() -> None:
    """The table, written a second time: a change has to be made on purpose."""
    s, i = State, Input
    assert {key: value for key, value in TRANSITIONS.items() if key[1] is not i.ERROR} == {
        (s.HANDSHAKE, i.VERSION): s.UNREGISTERED,
        (s.HANDSHAKE, i.STATUS): s.CLOSED,
        (s.UNREGISTERED, i.OPENING): s.UNREGISTERED,
        (s.UNREGISTERED, i.ANSWER): s.UNREGISTERED,
        (s.UNREGISTERED, i.REGISTERED): s.OPEN,
        (s.OPEN, i.CALL): s.OPEN,
        (s.OPEN, i.ANSWER): s.OPEN,
        (s.UNREGISTERED, i.LAST_CALL): s.CLOSED,
        (s.OPEN, i.LAST_CALL): s.CLOSED,
    }
    assert all(TRANSITIONS[state, i.ERROR] is s.CLOSED for state in s)


def test_events_before_an_error_are_delivered() -> None:
    events = server().receive(encode(b"M5", 1, 0, "ping", ()) + encode_frame(b"\xc1"))
    assert isinstance(next(events), Called)
    with pytest.raises(WireError):
        next(events)


# --- negotiation --------------------------------------------------------------------------------

SSH = b"SSH-2.0-OpenSSH_9.6\r\n"
HTTP = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100


@pytest.mark.parametrize(
    ("msgpack", "extended", "announced"),
    [
        (False, True, b"Z6"),
        (True, True, b"M6"),
        (False, False, b"Z5"),
        (True, False, b"M5"),
    ],
)
@pytest.mark.parametrize(
    "answer", [b"Z5", b"M5", b"Z6", b"M6", b"Z4", b"M4", b"Z310", b"5", b"", b"Z", b"X5", b"z5"]
)
def test_answers_to_an_announcement(
    msgpack: bool, extended: bool, announced: bytes, answer: bytes
) -> None:
    session = Session(ServerHandshake(msgpack=msgpack, extended=extended))
    assert session.greeting == encode_frame(announced)
    if answer in (b"Z5", b"M5") or (answer == b"M6" and extended):
        assert list(session.receive(encode_frame(answer))) == [HandshakeDone(answer)]
        assert session.protocol == answer
    else:
        with pytest.raises(WireError, match="not a ZEO client, or too old"):
            list(session.receive(encode_frame(answer)))
        assert session.state is State.CLOSED


@pytest.mark.parametrize(
    ("announced", "answer"),
    [
        (b"Z5", b"Z5"),
        (b"M5", b"M5"),
        (b"Z6", b"M6"),
        (b"M6", b"M6"),
        (b"Z7", b"M6"),
        (b"M9", b"M6"),
        (b"Z4", None),
        (b"Z310", None),
        (b"Z3101", None),
        (b"Z", None),
        (b"", None),
        (b"5", None),
        (b"X5", None),
        # As a byte string it lies between 5 and 6, and it is neither.
        (b"Z5 ", None),
        (b"\xff\xff", None),
    ],
)
def test_announcements(announced: bytes, answer: bytes | None) -> None:
    session = Session(ClientHandshake())
    assert session.greeting == b""
    if answer is None:
        with pytest.raises(WireError, match="not a ZEO server, or too old"):
            list(session.receive(encode_frame(announced)))
        assert session.state is State.CLOSED
        assert session.greeting == b""
    else:
        assert list(session.receive(encode_frame(announced))) == [HandshakeDone(answer)]
        assert session.greeting == encode_frame(answer)


@pytest.mark.parametrize("msgpack", [False, True])
@pytest.mark.parametrize("extended", [False, True])
def test_our_two_ends_agree(msgpack: bool, extended: bool) -> None:
    one = Session(ServerHandshake(msgpack=msgpack, extended=extended))
    other = Session(ClientHandshake())
    list(other.receive(one.greeting))
    list(one.receive(other.greeting))
    assert one.protocol == other.protocol
    assert one.protocol == (b"M6" if extended else b"M5" if msgpack else b"Z5")


@pytest.mark.parametrize("announced", [b"Z5", b"Z6", b"M5", b"M6"])
def test_stock_clients_choose_what_we_accept(announced: bytes) -> None:
    """What ZEO's own client answers, by its own code."""
    from ZEO.asyncio.client import Protocol

    choice = announced[:1] + min(announced[1:], Protocol.protocols[-1])
    session = Session(ServerHandshake(announced[:1] == b"M", announced[1:] == b"6"))
    assert session.greeting == encode_frame(announced)
    assert list(session.receive(encode_frame(choice))) == [HandshakeDone(choice)]
    assert choice[1:] == b"5"


@pytest.mark.parametrize("banner", [SSH, HTTP, TLS])
@pytest.mark.parametrize("handshake", [ServerHandshake, ClientHandshake])
def test_banners_of_other_protocols(banner: bytes, handshake: Any) -> None:
    session = Session(handshake())
    with pytest.raises(WireError, match="not a ZEO peer"):
        list(session.receive(banner))
    assert session.state is State.CLOSED


def test_status_request() -> None:
    session = server(State.HANDSHAKE)
    assert list(session.receive(encode_frame(b"ruok") + encode_frame(b"M5"))) == [StatusRequested()]
    assert session.state is State.CLOSED


def test_a_client_is_not_asked_for_its_status() -> None:
    with pytest.raises(WireError):
        list(Session(ClientHandshake()).receive(encode_frame(b"ruok")))


# --- calls --------------------------------------------------------------------------------------

both = pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])


@both
def test_a_call_before_register(protocol: bytes) -> None:
    for name, call in SERVER_CALLS.items():
        if call.opening or call.version > protocol[1:]:
            continue
        session = server(State.UNREGISTERED, protocol)
        with pytest.raises(WireError, match="call while waiting for the storage"):
            list(session.receive(encode(protocol, 1, 0, name, ())))
        assert session.state is State.CLOSED


def test_calls_of_the_opening_come_before_the_registration_only() -> None:
    offer = ("1", {"tid-at-vote": {}})
    session = server(State.UNREGISTERED, b"M6")
    (called,) = session.receive(encode(b"M6", 1, 0, "capabilities", offer))
    assert isinstance(called, Called)
    assert called.args == offer
    session.registered()
    with pytest.raises(WireError, match="call of the opening while open"):
        list(session.receive(encode(b"M6", 2, 0, "capabilities", offer)))


def test_version_5_has_no_capabilities() -> None:
    session = server(State.UNREGISTERED, b"M5")
    with pytest.raises(WireError, match="unknown call"):
        list(session.receive(encode(b"M5", 1, 0, "capabilities", ("1", {}))))


@both
def test_register_may_be_tried_again_until_it_succeeds(protocol: bytes) -> None:
    session = server(State.UNREGISTERED, protocol)
    (first,) = session.receive(encode(protocol, 1, 0, "register", ("1", False)))
    (second,) = session.receive(encode(protocol, 2, 0, "register", ("1", True)))
    assert isinstance(first, Called)
    assert isinstance(second, Called)
    assert (first.args, second.args) == (("1", False), ("1", True))
    session.registered()
    with pytest.raises(WireError, match="opening while open"):
        list(session.receive(encode(protocol, 3, 0, "register", ("1", True))))
    assert session.state is State.CLOSED


@both
def test_calls_behind_register_wait_for_nothing(protocol: bytes) -> None:
    """Register and a call in one piece: the call counts once register was processed."""
    session = server(State.UNREGISTERED, protocol)
    names = []
    data = encode(protocol, 1, 0, "register", ("1", False)) + encode(protocol, 2, 0, "ping", ())
    for event in session.receive(data):
        assert isinstance(event, Called)
        names.append(event.call.name)
        if event.call.name == "register":
            session.registered()
    assert names == ["register", "ping"]


@both
@pytest.mark.parametrize("name", ["", "nothing", "__class__", "undo", "load", "PING", "x" * 1000])
def test_unknown_calls(protocol: bytes, name: str) -> None:
    for session in (server(State.OPEN, protocol), client(State.OPEN, protocol)):
        with pytest.raises(WireError, match="unknown call") as caught:
            list(session.receive(encode(protocol, 1, 0, name, ())))
        assert len(str(caught.value)) < 100
        assert session.state is State.CLOSED


@both
def test_neither_end_takes_the_calls_of_the_other(protocol: bytes) -> None:
    for name in set(CLIENT_CALLS) - set(SERVER_CALLS):
        with pytest.raises(WireError, match="unknown call"):
            list(server(State.OPEN, protocol).receive(encode(protocol, 0, 1, name, ())))
    for name in set(SERVER_CALLS) - set(CLIENT_CALLS):
        with pytest.raises(WireError, match="unknown call"):
            list(client(State.OPEN, protocol).receive(encode(protocol, 0, 1, name, ())))


@pytest.mark.parametrize("protocol", [b"Z5", b"M5"])
def test_version_5_has_no_calls_of_version_6(protocol: bytes) -> None:
    with pytest.raises(WireError, match="unknown call"):
        list(
            server(State.OPEN, protocol).receive(encode(protocol, 1, 0, "tpc_outcome", (OID, OID)))
        )


@both
def test_bad_arguments_of_a_call_that_waits(protocol: bytes) -> None:
    session = server(State.OPEN, protocol)
    (event,) = session.receive(encode(protocol, 8, 0, "loadBefore", (b"short", TID)))
    assert isinstance(event, Called)
    assert event.id == 8
    assert event.args == ()
    assert "oid was expected" in str(event.error)
    assert session.state is State.OPEN
    (event,) = session.receive(encode(protocol, 9, 0, "ping", ()))
    assert isinstance(event, Called)
    assert event.error is None


@both
@pytest.mark.parametrize(
    ("name", "args", "longest"),
    [
        ("record_iternext", (b"x" * 2**16,), 2**16),
        ("undoInfo", (0, 1, {"user_name": "x" * 2**20}), 2**20),
    ],
)
def test_call_that_is_too_long(
    protocol: bytes, name: str, args: tuple[Any, ...], longest: int
) -> None:
    """The server keeps the arguments until it deals with the call."""
    session = Session(ServerHandshake(), 2**22)
    list(session.receive(encode_frame(protocol)))
    session.registered()
    (event,) = session.receive(encode(protocol, 8, 0, name, args))
    assert isinstance(event, Called)
    assert event.args == ()
    assert str(event.error) == f"{name}: more than {longest} bytes"
    assert session.state is State.OPEN


@both
def test_bad_arguments_of_a_call_that_does_not_wait(protocol: bytes) -> None:
    session = server(State.OPEN, protocol)
    (called,) = session.receive(encode(protocol, 0, 1, "storea", (b"short", TID, b"", 1)))
    assert isinstance(called, Called)
    assert (called.id, called.args) == (None, ())
    assert str(called.error) == "storea: oid was expected, not bytes"
    assert session.state is State.OPEN


@both
def test_a_bad_push(protocol: bytes) -> None:
    session = client(State.OPEN, protocol)
    (called,) = session.receive(encode(protocol, 0, 1, "invalidateTransaction", (TID, [b"x"])))
    assert isinstance(called, Called)
    assert "invalidateTransaction: oids" in str(called.error)


@both
def test_who_waits_for_an_answer(protocol: bytes) -> None:
    session = server(State.OPEN, protocol)
    (waits,) = session.receive(encode(protocol, (OID, TID), 0, "loadBefore", (OID, TID)))
    (does_not,) = session.receive(encode(protocol, 0, 1, "undoa", (b"tid", 1)))
    assert isinstance(waits, Called)
    assert isinstance(does_not, Called)
    assert waits == Called((OID, TID), SERVER_CALLS["loadBefore"], (OID, TID), None)
    assert does_not == Called(None, SERVER_CALLS["undoa"], (b"tid", 1), None)
    # The answers of these must not be lost: locks and reservations depend on them.
    with pytest.raises(WireError, match="vote must wait"):
        list(session.receive(encode(protocol, 0, 1, "vote", (1,))))


@both
def test_answers(protocol: bytes) -> None:
    session = client(State.UNREGISTERED, protocol)
    peer = server(State.OPEN, protocol)
    assert list(session.receive(peer.reply(1, TID))) == [Replied(1, TID)]
    (failed,) = session.receive(peer.failure((OID, TID), KeyError("k")))
    assert isinstance(failed, Failed)
    assert failed.id == (OID, TID)
    assert type(failed.error) is KeyError
    assert failed.error.args == ("k",)


@both
def test_what_a_session_sends_is_what_the_other_receives(protocol: bytes) -> None:
    ours, theirs = client(State.OPEN, protocol), server(State.OPEN, protocol)
    (event,) = theirs.receive(ours.call(5, "history", OID, 3))
    assert event == Called(5, SERVER_CALLS["history"], (OID, 3), None)
    (event,) = theirs.receive(ours.oneway("storeBlobChunk", b"x"))
    assert event == Called(None, SERVER_CALLS["storeBlobChunk"], (b"x",), None)
    (event,) = ours.receive(theirs.oneway("receiveBlobChunk", OID, TID, b"x"))
    assert event == Called(None, CLIENT_CALLS["receiveBlobChunk"], (OID, TID, b"x"), None)


@both
def test_what_is_special_about_a_load_is_its_speed(protocol: bytes) -> None:
    ours = client(protocol=protocol)
    for id, oid, tid in ((7, OID, TID), (2**31, OID, TID), (7, OID, b"short"), (7, b"", TID)):
        frame = ours.load(id, oid, tid)
        codec = CODECS[protocol[:1]]
        assert codec.decode(frame[4:]) == (id, 0, "loadBefore", (oid, tid))


@both
def test_keep_alive(protocol: bytes) -> None:
    for state in (State.UNREGISTERED, State.OPEN):
        for session in (server(state, protocol), client(state, protocol)):
            assert list(session.receive(session.keep_alive() * 3)) == []
            assert session.state is state


def test_keep_alive_is_what_stock_clients_send() -> None:
    from ZEO.asyncio.marshal import encoder

    for protocol in (b"Z5", b"M5"):
        expected = encoder(protocol)(-1, 0, ".reply", None)
        assert client(State.OPEN, protocol).keep_alive() == encode_frame(expected)


def test_unsendable_values() -> None:
    with pytest.raises(EncodeError):
        client().call(1, "ping", object())


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [server, client])
def test_frames_are_short_until_registration(make: Any) -> None:
    long = encode(b"M5", 1, 0, ".reply", b"x" * 5000)
    session = make(State.UNREGISTERED)
    with pytest.raises(WireError, match="exceeds the limit of 4096 bytes"):
        list(session.receive(long))
    assert session.state is State.CLOSED
    assert len(list(make(State.OPEN).receive(long))) == 1


def test_the_limit_holds_for_the_handshake() -> None:
    with pytest.raises(WireError):
        list(server(State.HANDSHAKE).receive(b"\0\0\x10\x01"))


def test_frames_after_registration_are_limited_too() -> None:
    session = server()
    with pytest.raises(WireError, match=f"exceeds the limit of {LIMIT} bytes"):
        list(session.receive((LIMIT + 1).to_bytes(4, "big")))
    assert session.state is State.CLOSED


def test_a_lower_limit_holds_from_the_beginning() -> None:
    session = Session(ServerHandshake(), 10)
    with pytest.raises(WireError):
        list(session.receive(encode_frame(b"x" * 11)))


def test_frames_that_are_too_long_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeotwisted.protocol.framing.MAX_FRAME", 100)
    with pytest.raises(FrameTooLarge):
        client().oneway("storeBlobChunk", b"x" * 100)


# --- anything at all ----------------------------------------------------------------------------

streams = st.lists(
    st.binary(max_size=60)
    | st.binary(max_size=60).map(encode_frame)
    | st.sampled_from([b"Z5", b"M5", b"M6", b"ruok"]).map(encode_frame)
    | st.builds(
        encode,
        st.sampled_from([b"Z5", b"M5"]),
        st.integers(-1, 3),
        st.sampled_from([0, 1, 2]),
        st.sampled_from([".reply", "register", *SERVER_CALLS, *CLIENT_CALLS]),
        st.none() | st.tuples(st.binary(max_size=8)) | st.just(("1", False)) | st.just(()),
    ),
    max_size=10,
)


@given(streams, st.booleans(), st.booleans())
def test_only_wire_errors_escape(pieces: list[bytes], for_server: bool, register: bool) -> None:
    session = Session(ServerHandshake() if for_server else ClientHandshake(), 200)

    def receive_all() -> None:
        for piece in pieces:
            for event in session.receive(piece):
                if register and isinstance(event, HandshakeDone):
                    session.registered()

    try:
        receive_all()
    except WireError:
        assert session.state is State.CLOSED
        # What is left of the stream means nothing.
        receive_all()


@given(st.lists(st.integers(0, 400), max_size=20).map(sorted), st.sampled_from([b"Z5", b"M5"]))
def test_events_do_not_depend_on_the_pieces(cuts: list[int], protocol: bytes) -> None:
    stream = b"".join(
        [
            encode_frame(protocol),
            encode(protocol, 1, 0, "register", ("1", False)),
            encode(protocol, -1, 0, ".reply", None),
            encode(protocol, 2, 0, "register", ("1", True)),
            encode(protocol, (OID, TID), 2, ".reply", ("builtins.ValueError", ())),
        ]
    )
    cuts = [min(cut, len(stream)) for cut in cuts]
    session = Session(ServerHandshake())
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events.extend(session.receive(stream[start:end]))
    assert [type(event) for event in events] == [HandshakeDone, Called, Called, Failed]


frames = st.lists(
    st.builds(
        encode,
        st.sampled_from([b"Z5", b"M5"]),
        st.integers(-1, 3) | st.just((OID, TID)),
        st.sampled_from([0, 1, 2]),
        st.sampled_from([".reply", "register", "no call", *SERVER_CALLS, *CLIENT_CALLS]),
        st.none()
        | st.just((OID, TID))
        | st.tuples(st.binary(max_size=8))
        | st.just((OID, TID, b"record", 1))
        | st.just(("ValueError", ())),
    )
    | st.builds(
        encode,
        st.sampled_from([b"Z5", b"M5"]),
        st.integers(0, 2**20) | st.just((OID, TID)),
        st.just(0),
        st.just("loadBefore"),
        st.just((OID, TID)),
    )
    | st.binary(max_size=30).map(encode_frame)
    | st.just(encode_frame(b"x" * 300)),
    max_size=6,
)


@given(
    frames,
    st.sampled_from([b"Z5", b"M5", b"M6"]),
    st.sampled_from([State.UNREGISTERED, State.OPEN]),
    st.booleans(),
)
def test_a_frame_means_the_same_however_it_comes(
    stream: list[bytes], protocol: bytes, state: State, for_server: bool
) -> None:
    """A frame that comes alone takes another way than one that comes in two pieces."""

    def received(session: Session, pieces: list[bytes], fast: str = "") -> list[Any]:
        found: list[Any] = []
        try:
            for piece in pieces:
                events: Any = None
                if fast == "alone":
                    events = session.receive_alone(piece)
                elif fast == "answer" and (answer := session.answer(piece)) is not None:
                    events = [Replied(*answer)]
                found.extend(session.receive(piece) if events is None else events)
        except WireError as error:
            found.append(str(error))
        found.append(session.state)
        return found

    def session() -> Session:
        made = Session(ServerHandshake() if for_server else ClientHandshake(), 200)
        list(made.receive(encode_frame(protocol)))
        if state is State.OPEN:
            made.registered()
        return made

    alone = received(session(), stream, fast="alone")
    whole = received(session(), stream)
    in_two = received(session(), [part for frame in stream for part in (frame[:3], frame[3:])])
    together = received(session(), [b"".join(stream)])
    answers = received(session(), stream, fast="answer")
    # Errors are not equal to one another.
    assert repr(alone) == repr(whole) == repr(in_two) == repr(together) == repr(answers)


def test_a_frame_that_comes_alone_is_not_mistaken_for_a_part() -> None:
    """What looks like a frame may be in the midst of one."""
    inner = encode(b"M5", 1, 0, "ping", ())
    outer = encode(b"M5", 2, 0, "new_oid", inner)
    start = outer.index(inner)
    session = server()
    assert session.receive_alone(outer[:start]) is None
    assert list(session.receive(outer[:start])) == []
    assert session.receive_alone(outer[start:]) is None
    (event,) = session.receive(outer[start:])
    assert event.id == 2
    # And after a part of a header, or one that is a header without a frame.
    for part in (inner[:1], inner[:4]):
        assert session.receive_alone(part) is None
        assert list(session.receive(part)) == []
        assert session.receive_alone(inner) is None
        list(session.receive(inner[len(part) :]))
    assert session.receive_alone(inner) is not None
    # And before anything behind it.
    assert session.receive_alone(inner + inner[:1]) is None


@pytest.mark.parametrize("protocol", [b"Z5", b"M5"])
def test_a_load_needs_a_registration_and_a_server(protocol: bytes) -> None:
    """A load is recognised before anything else is looked at."""
    load = encode(protocol, 1, 0, "loadBefore", (OID, TID))
    for session in (server(State.UNREGISTERED, protocol), client(State.OPEN, protocol)):
        with pytest.raises(WireError):
            list(session.receive(load))
        assert list(session.receive(load)) == []
    expected = Called(1, SERVER_CALLS["loadBefore"], (OID, TID), None)
    assert list(server(State.OPEN, protocol).receive(load)) == [expected]
