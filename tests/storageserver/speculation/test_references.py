"""References are found as ZODB finds them, and are of the right kinds."""

from __future__ import annotations

from typing import Any

import pytest
import transaction
import ZODB
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from ZODB.serialize import get_refs
from ZODB.utils import p64

from zeotwisted.protocol import split
from zeotwisted.storageserver.speculation.references import FEW, references


class WithArguments(Persistent):
    """A class whose references have no class."""

    def __new__(cls, *args: Any) -> WithArguments:
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[int]:
        return (1,)


def objects() -> dict[str, Persistent]:
    leaf = PersistentMapping()
    return {
        "nothing": PersistentMapping(text="x" * 300, numbers=[1, 2, 2**70]),
        "one": PersistentMapping(a=leaf),
        "the same": PersistentMapping(a=leaf, b=leaf),
        "several classes": PersistentMapping(
            a=PersistentMapping(), b=PersistentList(), c=PersistentMapping(), d=OOBTree()
        ),
        "many": PersistentList([PersistentMapping() for _ in range(300)]),
        "with arguments": PersistentMapping(a=WithArguments(1), b=PersistentMapping()),
        "has arguments": WithArguments(1),
        "tree": OOBTree({str(n): PersistentMapping() for n in range(1000)}),
        "numbers": IOBTree({n: PersistentList() for n in range(1000)}),
        "texts": PersistentList(["x" * 8, b"12345678", b"\0\0\0\0\0\0\0\1"]),
        "weak": PersistentMapping(a=WeakRef(leaf), b=PersistentMapping()),
    }


@pytest.fixture(scope="module")
def records() -> dict[str, list[bytes]]:
    """All records that belong to each of the objects."""
    database = ZODB.DB(None)
    connection = database.open()
    root = connection.root()
    for name, value in objects().items():
        root[name] = value
    transaction.commit()
    found: dict[str, list[bytes]] = {}
    for name in objects():
        todo, seen = [root[name]._p_oid], set()
        while todo:
            oid = todo.pop()
            if oid in seen:
                continue
            seen.add(oid)
            data = database.storage.load(oid)[0]
            found.setdefault(name, []).append(data)
            todo.extend(each for each, _ in get_refs(data))
    transaction.abort()
    connection.close()
    database.close()
    return found


@pytest.mark.parametrize("name", objects())
def test_as_zodb_finds_them(records: dict[str, list[bytes]], name: str) -> None:
    for data in records[name]:
        found = references(data)
        expected = list(dict.fromkeys(oid for oid, _ in get_refs(data)))
        assert split(found.oids if found else b"") == expected
        if found:
            assert [found.oid(found.place(oid)) for oid in expected] == expected
            assert 8 * len(found.kinds) == len(found.oids)
            assert set(found.distinct) == set(found.kinds)


MAPPING = b"persistent.mapping\nPersistentMapping"
LIST = b"persistent.list\nPersistentList"


def test_kinds(records: dict[str, list[bytes]]) -> None:
    found = references(records["several classes"][0])
    assert found is not None
    assert found.kinds == (
        (MAPPING, MAPPING, 0),
        (MAPPING, LIST, 0),
        (MAPPING, MAPPING, 1),
        (MAPPING, b"BTrees.OOBTree\nOOBTree", 0),
    )


def test_many_are_of_one_kind(records: dict[str, list[bytes]]) -> None:
    found = references(records["many"][0])
    assert found is not None
    assert found.kinds == ((LIST, MAPPING, FEW),) * 300
    # Also those beside another one.
    bucket = references(records["tree"][1])
    assert bucket is not None
    assert len(bucket.distinct) == 2


def test_a_class_without_a_name(records: dict[str, list[bytes]]) -> None:
    found = references(records["with arguments"][0])
    assert found is not None
    assert found.kinds == ((MAPPING, b"", 0), (MAPPING, MAPPING, 0))


@pytest.mark.parametrize("data", [b"", b"x", b"C\x08", b"\x80\x03c", b"C\x08" * 1000])
def test_what_is_no_record(data: bytes) -> None:
    assert references(data) is None


def test_a_record_of_python_2() -> None:
    data = b"(cmodule\nClass\nq\1Nt.(U\x08" + p64(7) + b"q\2h\1\x86q\3QU\x08" + p64(8) + b"Qt."
    found = references(data)
    assert found is not None
    assert found.oids == p64(7) + p64(8)
    assert found.kinds == ((b"module\nClass", b"module\nClass", 0), (b"module\nClass", b"", 0))


def test_what_is_looked_at_is_limited() -> None:
    one = b"C\x08" + p64(1) + b"Q"
    many = b"".join(b"C\x08" + p64(n) + b"Q" for n in range(10_000))
    found = references(many)
    assert found is not None
    assert len(found.kinds) == 3000
    assert references(bytes(2**16) + one) is None
