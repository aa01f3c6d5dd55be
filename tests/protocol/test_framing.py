"""Frames come out as they went in, however the stream is cut, and cost no more than their bytes."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol import framing
from zeotwisted.protocol.framing import FrameDecoder, FrameTooLarge, encode_frame, frame_pieces

frames_and_cuts = st.lists(st.binary(max_size=40), max_size=12).flatmap(
    lambda frames: st.tuples(
        st.just(frames),
        st.lists(st.integers(0, sum(map(len, frames)) + 4 * len(frames)), max_size=30).map(sorted),
    )
)


@given(frames_and_cuts)
def test_any_split_of_any_frames(example: tuple[list[bytes], list[int]]) -> None:
    frames, cuts = example
    stream = b"".join(map(encode_frame, frames))
    decoder = FrameDecoder(1000)
    received: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received.extend(map(bytes, decoder.feed(stream[start:end])))
    assert received == frames


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_frame_in_pieces(pieces: list[bytes]) -> None:
    assert b"".join(frame_pieces(pieces)) == encode_frame(b"".join(pieces))


def test_too_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME", 5)
    assert frame_pieces([b"abc", b"de"])[1:] == [b"abc", b"de"]
    with pytest.raises(FrameTooLarge):
        frame_pieces([b"abc", b"def"])


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_byte_by_byte(frames: list[bytes]) -> None:
    decoder = FrameDecoder(40)
    received = []
    for byte in b"".join(map(encode_frame, frames)):
        received.extend(map(bytes, decoder.feed(bytes([byte]))))
    assert received == frames


@given(st.binary(min_size=1, max_size=100), st.integers(0, 99))
def test_a_frame_comes_with_its_last_byte_and_not_before(payload: bytes, cut: int) -> None:
    frame = encode_frame(payload)
    cut = min(cut, len(frame) - 1)
    decoder = FrameDecoder(100)
    assert list(decoder.feed(frame[:cut])) == []
    assert list(decoder.feed(frame[cut:])) == [payload]


def test_frame_layout() -> None:
    assert encode_frame(b"Z5") == b"\0\0\0\x02Z5"
    assert encode_frame(b"") == b"\0\0\0\0"


def test_empty_frames_and_empty_pieces() -> None:
    decoder = FrameDecoder(10)
    assert list(decoder.feed(b"")) == []
    assert list(decoder.feed(b"\0" * 12)) == [b"", b"", b""]
    assert list(decoder.feed(b"\0\0")) == []
    assert list(decoder.feed(b"")) == []
    assert list(decoder.feed(b"\0\x01")) == []
    assert list(decoder.feed(b"")) == []
    assert list(decoder.feed(b"x\0\0\0\0")) == [b"x", b""]


def test_limit_is_inclusive() -> None:
    assert list(FrameDecoder(3).feed(encode_frame(b"abc"))) == [b"abc"]
    with pytest.raises(FrameTooLarge) as caught:
        list(FrameDecoder(2).feed(encode_frame(b"abc")))
    assert (caught.value.size, caught.value.limit) == (3, 2)


def test_frames_before_the_long_one_are_delivered() -> None:
    frames = FrameDecoder(3).feed(encode_frame(b"a") + encode_frame(b"b") + b"\0\0\0\x04")
    assert next(frames) == b"a"
    assert next(frames) == b"b"
    with pytest.raises(FrameTooLarge):
        next(frames)


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_length_over_the_limit_is_refused_before_memory_is_taken(pieces: int) -> None:
    decoder = FrameDecoder(2**20)
    header = b"\xff\xff\xff\xff"
    step = 4 // pieces
    tracemalloc.start()
    try:
        with pytest.raises(FrameTooLarge):
            for start in range(0, 4, step):
                list(decoder.feed(header[start : start + step]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_an_announced_length_takes_no_memory_until_the_bytes_are_there() -> None:
    decoder = FrameDecoder(framing.MAX_FRAME)
    tracemalloc.start()
    try:
        assert list(decoder.feed(b"\xff\xff\xff\xff" + b"x" * 100)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_the_limit_may_change_between_two_frames() -> None:
    decoder = FrameDecoder(2)
    stream = encode_frame(b"ab") + encode_frame(b"long one") + encode_frame(b"abc")
    frames = decoder.feed(stream)
    assert next(frames) == b"ab"
    decoder.limit = 8
    assert next(frames) == b"long one"
    decoder.limit = 2
    with pytest.raises(FrameTooLarge):
        next(frames)


def test_the_limit_holds_from_the_next_frame_on() -> None:
    decoder = FrameDecoder(8)
    assert list(decoder.feed(encode_frame(b"long one")[:6])) == []
    decoder.limit = 2
    assert list(decoder.feed(b"ng one")) == [b"long one"]


def test_what_does_not_fit_into_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME", 3)
    assert encode_frame(b"abc") == b"\0\0\0\x03abc"
    with pytest.raises(FrameTooLarge):
        encode_frame(b"abcd")


def _seconds(size: int) -> float:
    """Return the CPU time that one frame of `size` bytes takes, in pieces of 64 KiB."""
    piece = bytes(65536)
    decoder = FrameDecoder(size)
    before = time.process_time()
    assert list(decoder.feed(size.to_bytes(4, "big"))) == []
    frames: list[bytes | bytearray] = []
    for _ in range(size // len(piece)):
        frames.extend(decoder.feed(piece))
    elapsed = time.process_time() - before
    assert [len(frame) for frame in frames] == [size]
    return elapsed


def test_long_frames_cost_linear_time() -> None:
    """Quadratic copying would take sixteen times as long for four times the bytes."""
    small = min(_seconds(64 * 2**20) for _ in range(3))
    large = min(_seconds(256 * 2**20) for _ in range(2))
    assert large < 9 * small + 0.2


def test_many_short_frames_in_one_piece_cost_linear_time() -> None:
    def seconds(count: int) -> float:
        stream = encode_frame(b"x" * 12) * count
        decoder = FrameDecoder(100)
        before = time.process_time()
        assert sum(1 for _ in decoder.feed(stream)) == count
        return time.process_time() - before

    small = min(seconds(50_000) for _ in range(3))
    large = min(seconds(400_000) for _ in range(2))
    assert large < 24 * small + 0.2
