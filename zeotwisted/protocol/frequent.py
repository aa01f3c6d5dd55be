"""The pickles that come most often, recognised as a whole.

A stock client loads records one by one, and stores them so; a stock server answers. These messages
always look the same but for ids, records and numbers, at places that are known. Here they are
compared with what they look like, which takes a tenth of the time that the stack machine of
`pickles` needs. The machine stays the judge: `read` returns what the machine would, or None, and
whatever is the least bit different is left to the machine.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any

__all__ = ["pickled_load", "read"]

# Picklers that keep a memo note each value, and use the notes only for what occurs twice.
_NOTE = rb"(?:q.)?"

_EIGHT = rb"C\x08(.{8})" + _NOTE

# A pair of oid and tid, as stock clients have it, or a number of 8, 16 or 32 bits.
_ID = rb"(?:" + _EIGHT * 2 + rb"\x86" + _NOTE + rb"|K(.)|M(..)|J(.{4}))"

# How long a record is, which follows.
_SIZE = rb"(?:C(.)|B(.{4}))"


def _text(text: bytes) -> bytes:
    return re.escape(b"X" + _U4.pack(len(text)) + text) + _NOTE


def _pattern(*parts: bytes) -> re.Pattern[bytes]:
    return re.compile(b"".join(parts), re.DOTALL)


_U2 = Struct("<H")
_U4 = Struct("<I")
_I4 = Struct("<i")

_START = rb"\x80\x03\("
_END = rb"t" + _NOTE + rb"\."

_LOAD = _pattern(
    _START, _ID, rb"K\x00", _text(b"loadBefore"), _EIGHT * 2, rb"\x86", _NOTE, _END
).fullmatch

_ANSWER = _pattern(_START, _ID, rb"K\x00", _text(b".reply"), _SIZE).match
_ANSWER_END = _pattern(_NOTE, _EIGHT, rb"(?:N|", _EIGHT, rb")\x87", _NOTE, _END).fullmatch

_STORE = _pattern(_START, rb"K\x00K\x01", _text(b"storea"), rb"\(", _EIGHT * 2, _SIZE).match
# The transaction is a number, as a rule an address in memory.
_STORE_END = _pattern(
    _NOTE, rb"(?:\x8a(?:\x05(.{5})|\x06(.{6})|\x07(.{7})|\x08(.{8}))|J(.{4}))t", _NOTE, _END
).fullmatch


_PICKLED_LOAD = Struct("<4si19s8s2s8s3s")


def pickled_load(id: int, oid: bytes, tid: bytes) -> bytes:
    """Return the pickle of ``(id, 0, "loadBefore", (oid, tid))``.

    :param id: has 31 bits at most.
    """
    return _PICKLED_LOAD.pack(
        b"\x80\x03(J", id, b"K\x00X\x0a\x00\x00\x00loadBeforeC\x08", oid, b"C\x08", tid, b"\x86t."
    )


def read(data: bytes | bytearray) -> Any:
    """Return the message that `data` is the pickle of; None if it is not of the frequent ones."""
    if type(data) is not bytes:
        # Such are the long ones, where the bytes are what costs.
        return None
    match = _LOAD(data)
    if match is not None:
        *id, oid, tid = match.groups()
        return _id(*id), 0, "loadBefore", (oid, tid)
    match = _ANSWER(data)
    if match is not None:
        *id, short, long = match.groups()
        end = match.end() + _size(short, long)
        tail = _ANSWER_END(data, end)
        if tail is None:
            return None
        return _id(*id), 0, ".reply", (data[match.end() : end], *tail.groups())
    match = _STORE(data)
    if match is not None:
        oid, serial, short, long = match.groups()
        end = match.end() + _size(short, long)
        tail = _STORE_END(data, end)
        if tail is None:
            return None
        number: bytes = tail[tail.lastindex or 0]
        transaction = int.from_bytes(number, "little", signed=True)
        return 0, 1, "storea", (oid, serial, data[match.end() : end], transaction)
    return None


def _id(
    oid: bytes | None, tid: bytes, short: bytes | None, middle: bytes | None, long: bytes
) -> int | tuple[bytes, bytes]:
    if oid is not None:
        return oid, tid
    if short is not None:
        return short[0]
    return _U2.unpack(middle)[0] if middle is not None else _I4.unpack(long)[0]


def _size(short: bytes | None, long: bytes) -> int:
    return short[0] if short is not None else _U4.unpack(long)[0]
