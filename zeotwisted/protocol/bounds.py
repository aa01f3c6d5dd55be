"""What decoding a message may cost.

A peer decides how many values a message has, and each of them takes time and memory, many times
what it takes on the wire: an empty map is one byte there and 64 here. Messages that mean something
have few values, however long these are, or many object ids. So a message that has more than a few
values is looked at before they are made: its beginning tells its name, and the name tells how many
there may be. The numbers are in `methods`.
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

#: As many values any message may have; all that are sent often have fewer.
FEW = 256


class Allowance(NamedTuple):
    """What the messages of a peer may cost."""

    #: Returns how many values a message may have, by its name and its length in bytes.
    values: Callable[[str, int], int]
    #: So long a message (bytes) is decoded without counting, as it cannot cost much, whatever is in
    #: it: some milliseconds, and 72 times as much memory, unless there is a longer array.
    short: int = 2**16
    #: How long an array may be in such a message. Memory for it is taken when it is announced, and
    #: arrays may be nested a thousand times.
    array: int = FEW


ANY = Allowance(lambda name, size: size)


class TooMany(ValueError):
    """A message has more values than its name allows."""


def too_many(name: str, most: int) -> TooMany:
    """Return the error for a message that has more than `most` values."""
    return TooMany(f"more than {most} values in a message of the name {name[:40]!r}")


# A key that is a tuple would be hashed by recursion, and tuples with the same hash are easily made.
_KEYS = (str, bytes, int, float, bool, type(None))


def check_key(key: object) -> Any:
    """Return `key`, which belongs into a dict or a set.

    :raises ValueError: hashing it might take long.
    """
    if type(key) not in _KEYS:
        raise ValueError(f"{type(key).__name__} cannot be a key")
    # Long numbers with the same hash are easily made, and a dict of them takes quadratic time.
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

# Other first bytes of values than those that contain a number or a length: how many bytes follow;
# or how long (bytes) a length is, and how many bytes or values follow for each unit of it.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_VALUES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}

# A run of object ids is recognised as a whole from this number on.
_RUN = 8
_OID = 10


def check_msgpack(data: bytes | bytearray, allowance: Allowance) -> None:
    """Check how many values there are, those included that are announced and do not come.

    It takes time in proportion to the number that is allowed.

    :raises TooMany: there are more than `allowance` has room for.
    :raises ValueError: `data` is no message in msgpack.
    """
    head = _HEAD(data)
    name = ""
    if head is not None:
        end = head.end()
        name = data[end : end + (data[end - 1] & 31)].decode("ascii", "replace")
    most = allowance.values(name, len(data))
    position = values = 0
    # How many values are still to come.
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
    """Return whether nothing but object ids follows, `count` of them."""
    if data[position] != 0xC4:
        return False
    run = data[position : position + count * _OID]
    return run[::_OID].count(0xC4) == count == run[1::_OID].count(8)
