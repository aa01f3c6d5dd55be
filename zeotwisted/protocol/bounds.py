"""Limits the time and memory that decoding a message takes.

The peer decides how many values a message has. A decoded value takes much more memory than its
encoding: an empty map is one byte on the wire and 64 bytes in memory. A valid message has few
values, which may be long, or many object ids. So the values of a message with more than a few
values are counted before they are created. The limit depends on the name of the call, which is at
the beginning of the message. The limits are in `methods`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "ANY",
    "FEW",
    "Allowance",
    "TooMany",
    "check_key",
    "check_msgpack",
    "too_many",
]

#: Any message may have this many values. All frequent messages have fewer.
FEW = 256


class Allowance(NamedTuple):
    """The limits for the messages of a peer."""

    #: Returns how many values a message may have, given its name and its length in bytes.
    values: Callable[[str, int], int]
    #: Messages up to this length (bytes) are decoded without counting. At worst that takes some
    #: milliseconds, and 72 times the message's length in memory.
    short: int = 2**16
    #: The greatest length of an array in such a message; a message with a longer array is counted.
    #: The decoder allocates an array when it reads the length, and a message may nest a thousand
    #: arrays.
    array: int = FEW


ANY = Allowance(lambda name, size: size)


class TooMany(ValueError):
    """A message has more values than its call allows."""


def too_many(name: str, most: int) -> TooMany:
    """Return the error for a message that has more than `most` values."""
    return TooMany(f"more than {most} values in a message of the name {name[:40]!r}")


# No tuples: hashing them is recursive, and a peer can easily make many with the same hash.
_KEYS = (str, bytes, int, float, bool, type(None))


def check_key(key: object) -> Any:
    """Return `key`, unchanged, for use in a dict or a set.

    :raises ValueError: hashing or comparing it might take long.
    """
    if type(key) not in _KEYS:
        raise ValueError(f"{type(key).__name__} cannot be a key")
    # A peer can easily make many long numbers with the same hash. A dict of them takes quadratic
    # time.
    if type(key) is int and not -(2**63) <= key < 2**64:
        raise ValueError("the number is too long for a key")
    return key


# The beginning of a message in msgpack, up to the length of its name.
_HEAD = re.compile(
    rb"\x94"
    rb"(?:[\x00-\x7f\xe0-\xff]|[\xcc\xd0].|[\xcd\xd1]..|[\xce\xd2].{4}|[\xcf\xd3].{8}"
    rb"|\x92\xc4\x08.{8}\xc4\x08.{8})"
    rb"[\x00-\x02\xc2\xc3]"
    rb"([\xa0-\xbf])",
    re.DOTALL,
).match

# The first bytes of msgpack values that do not contain a small number or a length themselves.
# _FIXED: how many bytes follow. _BYTES: the size of the length field, which counts bytes. _VALUES:
# the size of the length field, and how many values follow for each unit of it.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_VALUES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}

# Arrays of at least this many object ids are recognised as a whole. Each oid takes _OID bytes.
_RUN = 8
_OID = 10


def check_msgpack(data: bytes | bytearray, allowance: Allowance) -> None:
    """Check the number of values in a message, counting those that its arrays and maps announce.

    The time is proportional to the number of values that is allowed.

    :raises TooMany: there are more values than `allowance` permits.
    :raises ValueError: `data` is not valid msgpack, or is cut off.
    """
    head = _HEAD(data)
    name = ""
    if head is not None:
        end = head.end()
        name = data[end : end + (data[end - 1] & 31)].decode("ascii", "replace")
    most = allowance.values(name, len(data))
    position = values = 0
    # How many values are still to be read.
    missing = 1
    try:
        while missing:
            first = data[position]
            position += 1
            missing -= 1
            if first < 0x80 or first >= 0xE0:
                continue
            if first >= 0xC0:
                if first in _FIXED:
                    position += _FIXED[first]
                    continue
                if first in _BYTES:
                    end = position + _BYTES[first]
                    position = end + int.from_bytes(data[position:end], "big")
                    continue
                if first not in _VALUES:
                    raise ValueError(f"values of the type 0x{first:02x} do not occur")
                width, each = _VALUES[first]
                end = position + width
                children = int.from_bytes(data[position:end], "big") * each
                position = end
            elif first >= 0xA0:
                position += first & 31
                continue
            else:
                children = (first & 15) * (1 if first >= 0x90 else 2)
            values += children
            if values > most:
                raise too_many(name, most)
            if children >= _RUN and _are_oids(data, position, children):
                position += children * _OID
            else:
                missing += children
    except IndexError as error:
        raise ValueError("it is cut off") from error


def _are_oids(data: bytes | bytearray, position: int, count: int) -> bool:
    """Return whether the next `count` values are all object ids."""
    if data[position] != 0xC4:
        return False
    run = data[position : position + count * _OID]
    return run[::_OID].count(0xC4) == count == run[1::_OID].count(8)
