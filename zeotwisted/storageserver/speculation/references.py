"""Finds the references of a record, and what kind each of them is of, without loading anything.

ZODB writes a reference as a persistent id: the oid and the class, or the oid alone. A regular
expression finds these in a tenth of the time in which `ZODB.serialize.get_refs` goes through the
pickle, and has the classes, too. It does not find weak references and those to other databases,
which is right. If a text of the application looks like a reference, there is no such object, or
only a wrong guess.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

__all__ = ["FEW", "Kind", "References", "references"]

#: The class of a record, the class of what it refers to, and the place among its references to that
#: class. All the references to a class of which there are many are of one kind.
Kind: TypeAlias = "tuple[bytes, bytes, int]"

#: How many references to a class may have places of their own.
FEW = 8

#: How much (bytes) of a record is searched, and for how many references.
_LONGEST = 2**16
_MOST = 3000

_NOTE = rb"(?:q.|r.{4})?"
_CLASS = rb"c([^\n]{1,100}\n[^\n]{1,100})\n(?:q(.)|r(.{4}))?"

_references = re.compile(
    rb"[CU]\x08(.{8})" + _NOTE + rb"(?:Q|(?:" + _CLASS + rb"|h(.)|j(.{4})|N)\x86" + _NOTE + rb"Q)",
    re.DOTALL,
).findall

#: The beginning of a record, which names its class.
_own_class = re.compile(rb"(?:\x80.)?\(?" + _CLASS, re.DOTALL).match


#: The names of classes, so that there is one object for each, and how many there may be.
_names: dict[bytes, bytes] = {}
_MOST_NAMES = 10_000


def _shared(name: bytes) -> bytes:
    known = _names.get(name)
    if known is None:
        if len(_names) >= _MOST_NAMES:
            _names.clear()
        known = _names[name] = name
    return known


class References(NamedTuple):
    """What a record refers to, in its order."""

    #: Joined: one object for each oid would take more memory than the oids.
    oids: bytes
    kinds: tuple[Kind, ...]
    #: The different ones of `kinds`.
    distinct: tuple[Kind, ...]

    def oid(self, place: int) -> bytes:
        """Return the oid of one reference."""
        return self.oids[8 * place : 8 * place + 8]

    def place(self, oid: bytes) -> int:
        """Return the place of the reference to an object, which must be there."""
        found = self.oids.index(oid)
        while found % 8:
            found = self.oids.index(oid, found + 1)
        return found // 8


def references(data: bytes) -> References | None:
    """Return the references of a record; None if there are none."""
    if len(data) > _LONGEST:
        data = data[:_LONGEST]
    found = _references(data)
    if not found:
        return None
    # The classes by their numbers in the memo of the pickle.
    memo: dict[bytes, bytes] = {}
    own = _own_class(data)
    own_name = b""
    if own is not None:
        own_name = _shared(own[1])
        memo[own[2] or (own[3] or b"").rstrip(b"\0")] = own_name
    oids: dict[bytes, bytes] = {}
    counts: dict[bytes, int] = {}
    for oid, name, short, long, get, long_get in found[:_MOST]:
        if name:
            name = memo[short or long.rstrip(b"\0")] = _shared(name)
        else:
            name = memo.get(get or long_get.rstrip(b"\0"), b"")
        if oid not in oids:
            oids[oid] = name
            counts[name] = counts.get(name, 0) + 1
    kinds = _kinds(own_name, oids, counts)
    return References(b"".join(oids), kinds, tuple(dict.fromkeys(kinds)))


def _kinds(own: bytes, oids: dict[bytes, bytes], counts: dict[bytes, int]) -> tuple[Kind, ...]:
    if len(counts) == 1 and len(oids) > FEW:
        return ((own, next(iter(counts)), FEW),) * len(oids)
    many = {name: (own, name, FEW) for name, count in counts.items() if count > FEW}
    places = dict.fromkeys(counts, 0)
    kinds = []
    for name in oids.values():
        kind = many.get(name)
        if kind is None:
            kind = (own, name, places[name])
            places[name] += 1
        kinds.append(kind)
    return tuple(kinds)
