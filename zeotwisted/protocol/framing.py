"""Frames: a four-byte big-endian length, then that many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

__all__ = ["MAX_FRAME", "FrameDecoder", "FrameTooLarge", "encode_frame", "frame_pieces"]

_LENGTH = Struct(">I")
_HEADER_SIZE = _LENGTH.size

#: The longest frame that the four-byte length can announce.
MAX_FRAME = 2**32 - 1


class FrameTooLarge(ValueError):
    """A frame is longer than the limit (both in bytes)."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes exceeds the limit of {limit} bytes")
        self.size = size
        self.limit = limit


def encode_frame(payload: bytes) -> bytes:
    """Return `payload` with its length before it.

    :raises FrameTooLarge: the length does not fit into four bytes.
    """
    size = len(payload)
    if size > MAX_FRAME:
        raise FrameTooLarge(size, MAX_FRAME)
    return _LENGTH.pack(size) + payload


def frame_pieces(payload: list[bytes]) -> list[bytes]:
    """Return the pieces of `payload`, with the total length before them.

    :raises FrameTooLarge: the length does not fit into four bytes.
    """
    size = sum(map(len, payload))
    if size > MAX_FRAME:
        raise FrameTooLarge(size, MAX_FRAME)
    return [_LENGTH.pack(size), *payload]


class FrameDecoder:
    """Cuts a stream into frames, in time that is linear in the number of bytes.

    :ivar limit: the longest frame to accept, in bytes. A change takes effect with the next frame.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._header = b""
        self._body: bytearray | None = None
        self._missing = 0

    @property
    def incomplete(self) -> int:
        """How many bytes of an incomplete frame are in memory."""
        return len(self._header) if self._body is None else len(self._body)

    def whole(self, data: bytes) -> bytes | None:
        """Return the contents of the frame if `data` is exactly one frame, otherwise None.

        This is the fast path of small messages. If it returns None, pass `data` to `feed`. This
        method changes no state and does not raise.
        """
        size = len(data) - _HEADER_SIZE
        if self._header or self._body is not None or not 0 <= size <= self.limit:
            return None
        return data[_HEADER_SIZE:] if _LENGTH.unpack_from(data)[0] == size else None

    def feed(self, data: bytes) -> Iterator[bytes | bytearray]:
        """Yield the frames that `data` completes.

        The iterator must be exhausted before the next call, unless the connection ends.

        :raises FrameTooLarge: the length of a frame is over the limit. No memory was allocated for
            it. The rest of the stream cannot be read.
        """
        offset = 0
        available = len(data)
        if self._body is not None:
            if available < self._missing:
                self._body += data
                self._missing -= available
                return
            offset = self._missing
            self._body += memoryview(data)[:offset]
            body, self._body = self._body, None
            yield body
        if self._header:
            data = self._header + data[offset:]
            self._header = b""
            offset = 0
            available = len(data)
        while available - offset >= _HEADER_SIZE:
            (size,) = _LENGTH.unpack_from(data, offset)
            if size > self.limit:
                raise FrameTooLarge(size, self.limit)
            offset += _HEADER_SIZE
            end = offset + size
            if end > available:
                self._body = bytearray(memoryview(data)[offset:])
                self._missing = end - available
                return
            yield data[offset:end]
            offset = end
        self._header = data[offset:]
