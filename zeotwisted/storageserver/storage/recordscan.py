"""Looks at the pickles of a record without loading them.

To load a pickle can run code, and can take very long: a few bytes may describe a tuple that takes
years to hash, or that is nested so deeply that hashing it ends the process.
"""

from __future__ import annotations

import pickletools
from io import BytesIO

__all__ = ["is_cheap_to_load", "names_its_class_plainly"]

#: The longest record (bytes) that the daemon loads. Clients have more time for longer ones.
_LONGEST = 2**20

#: How many tuples a record may have. They may be nested.
_MOST_TUPLES = 5000

#: Opcodes that ZODB does not write. EXT finds classes by numbers, without asking us; the others can
#: use a value twice.
_NEVER = frozenset({"EXT1", "EXT2", "EXT4", "DUP", "MEMOIZE", "POP", "POP_MARK"})

_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})

#: Opcodes after which a value may be remembered to be used again. Other values may be tuples.
_SHARED = {
    *("GLOBAL", "BINPERSID", "NEWOBJ", "REDUCE", "BUILD"),
    *("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "LONG", "LONG1", "INT", "FLOAT", "BINFLOAT"),
}


def names_its_class_plainly(record: bytes) -> bool:
    """Return whether a record begins with the name of its class, as those of ZODB do.

    ZODB reads the name from the text then. It loads the record as a pickle otherwise, to name the
    class in a `ConflictError`.
    """
    start = 2 if record[:1] == b"\x80" else 0
    return record.startswith((b"c", b"(c"), start)


def is_cheap_to_load(record: bytes) -> bool:
    """Return whether the pickles of a record use no value twice that could be a tuple.

    Then the time that it takes to load them is limited by their length.
    """
    if len(record) > _LONGEST:
        return False
    file = BytesIO(record)
    # The pickles of a record have one memo. These of its values are no tuples.
    shared: set[int] = set()
    try:
        while file.tell() < len(record):
            if not _is_cheap(file, shared):
                return False
    except Exception:
        # It is no pickle. pickletools raises many kinds of exceptions.
        return False
    return True


def _is_cheap(file: BytesIO, shared: set[int]) -> bool:
    tuples = 0
    before = ""
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name in _NEVER:
            return False
        if name in _TUPLES:
            tuples += 1
            if tuples > _MOST_TUPLES:
                return False
        elif name in _PUTS:
            assert isinstance(argument, int)
            if before in _SHARED:
                shared.add(argument)
            else:
                shared.discard(argument)
        elif name in _GETS and argument not in shared:
            return False
        before = name
    return True
