"""Plain data goes through; nothing that a peer can send does anything else."""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import pickle
import struct
import time
import tracemalloc
from typing import Any

import pytest
import zodbpickle
from hypothesis import example, given
from hypothesis import strategies as st
from ZODB import POSException
from zodbpickle.pickle import Pickler as ZodbPickler
from ZopeUndo.Prefix import Prefix as ZopePrefix

from zeotwisted.protocol import pickleclasses, picklemachine
from zeotwisted.protocol.errors import exception_from_wire
from zeotwisted.protocol.pickles import PickleError, dumps, loads
from zeotwisted.protocol.undo import Prefix

# --- plain data ---------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs", "Ll"]), max_size=5)
    | st.binary()
    | st.binary(min_size=250, max_size=300)
)
keys = st.text() | st.binary() | st.integers(-(2**63), 2**63) | st.booleans() | st.none()
sets = st.frozensets(keys, max_size=4) | st.sets(keys, max_size=4)
plain = st.recursive(
    scalars | sets | st.binary().map(bytearray) | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=15,
)


def same(left: Any, right: Any) -> bool:
    """Compare values and types, as ``True == 1`` and ``0.0 == -0.0`` are not what was sent."""
    return type(left) is type(right) and repr(_sorted(left)) == repr(_sorted(right))


def _sorted(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(map(repr, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(_sorted, value))
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return value


@given(plain)
def test_round_trip(value: Any) -> None:
    data = dumps(value)
    assert same(loads(data), value)
    assert same(pickle.loads(data), value)


@given(plain)
def test_protocol_3_with_and_without_memo(value: Any) -> None:
    with_memo = pickle.dumps(value, 3)
    assert same(loads(with_memo), value)
    assert same(loads(bytearray(with_memo)), value)
    assert same(loads(_fast(value, 3)), value)


#: Protocol 2 knows no bytes; pickle spells them as a call that is no part of the wire.
no_bytes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(no_bytes)
def test_protocol_2_with_and_without_memo(value: Any) -> None:
    assert same(loads(pickle.dumps(value, 2)), value)
    assert same(loads(_fast(value, 2)), value)


@given(plain, st.integers(0, 5))
def test_other_protocols_decode_to_the_same_or_not_at_all(value: Any, protocol: int) -> None:
    try:
        decoded = loads(pickle.dumps(value, protocol))
    except PickleError:
        assert protocol not in (3,)
    else:
        assert same(decoded, value)


def _fast(value: Any, protocol: int) -> bytes:
    import io

    output = io.BytesIO()
    pickler = ZodbPickler(output, protocol)
    pickler.fast = 1
    pickler.dump(value)
    return output.getvalue()


@given(st.lists(st.integers(), min_size=1001, max_size=1100))
def test_long_lists(value: list[int]) -> None:
    assert loads(dumps(value)) == value


def test_binary_of_zodbpickle_is_bytes() -> None:
    for data in (
        dumps(zodbpickle.binary(b"x\xff")),
        pickle.dumps(zodbpickle.binary(b"x\xff"), 3),
        b"\x80\x03czodbpickle\nbinary\nC\x02x\xff\x85R.",
    ):
        assert same(loads(data), b"x\xff")
    assert same(loads(b"czodbpickle\nbinary\n)R."), b"")


def test_sharing_is_allowed_in_moderation() -> None:
    shared = ["abc", (1, 2)]
    assert loads(pickle.dumps([shared] * 100, 3)) == [shared] * 100


def test_nesting_up_to_the_limit() -> None:
    def nested(depth: int) -> bytes:
        return b"N" + b"\x85" * depth + b"."

    assert loads(nested(picklemachine._MAX_DEPTH - 1)) is not None
    with pytest.raises(PickleError, match="nested"):
        loads(nested(picklemachine._MAX_DEPTH + 1))


class Unsendable:
    pass


@pytest.mark.parametrize(
    "value",
    [Unsendable(), Unsendable, len, KeyError("x"), range(3), slice(1), type("S", (str,), {})("x")],
)
def test_unsendable(value: Any) -> None:
    with pytest.raises(PickleError):
        dumps((1, [value]))


# --- Zope's Prefix ------------------------------------------------------------------------------

paths = st.lists(st.sampled_from(["", "a", "b", "a b", " ", " a", "a ", "é"]), max_size=4).map(
    "/".join
)


@given(paths, paths)
@example("/acl_users", "/acl_users admin")
@example("/acl_users", "/acl_users/ admin")
@example("", " admin")
@example("/a", "/a/b/c user name")
def test_prefix_compares_as_zopes(path: str, other: str) -> None:
    zopes = ZopePrefix(path)
    ours = loads(_fast(zopes, 3))
    assert type(ours) is Prefix
    assert (ours == other) == (zopes == other)
    assert (ours != other) == (zopes != other)
    # Storages hold the names of users as bytes, and have them on the left hand.
    assert (other.encode() == ours) == (zopes == other)
    assert (other.encode() != ours) == (zopes != other)


def test_prefix_compares_with_nothing_else() -> None:
    prefix = Prefix(["", "a"])
    assert prefix != Prefix(["", "a"])
    assert prefix != 5
    assert prefix != None  # noqa: E711 - this is the comparison in question
    assert prefix != b"\xff"
    assert "/a" in repr(prefix)


def _instance(state: Any) -> bytes:
    return b"\x80\x03cZopeUndo.Prefix\nPrefix\n)\x81" + dumps(state)[2:-1] + b"b."


@pytest.mark.parametrize(
    "state", [{}, {"path": "/a"}, {"path": None}, {"path": ["a", 1]}, {"path": ("a",)}]
)
def test_prefix_with_another_state(state: Any) -> None:
    with pytest.raises(PickleError):
        loads(_instance(state))


# --- hostile names ------------------------------------------------------------------------------

flag_was_set = False


class SideEffect(Exception):
    """An exception class, which a careless allow-list would admit."""

    def __init__(self, *_args: Any) -> None:
        global flag_was_set
        flag_was_set = True

    def __setstate__(self, _state: Any) -> None:
        self.__init__()


ALLOWED = set(pickleclasses.CALLABLES) | set(pickleclasses.INSTANCES)

NAMES = sorted(
    {("builtins", name) for name in dir(builtins)}
    | {("__builtin__", name) for name in dir(builtins)}
    | {("copyreg", name) for name in dir(copyreg)}
    | {
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("copy_reg", "_reconstructor"),
        ("copyreg", "_reconstructor"),
        ("zodbpickle", "pickle"),
        ("zodbpickle.pickle", "loads"),
        ("ZopeUndo.Prefix", "Prefix.__init__"),
        ("ZopeUndo", "Prefix"),
        ("ZODB.POSException", "ConflictError"),
        ("_codecs", "encode"),
        ("builtins", "set.pop"),
        ("builtins.set", ""),
        ("", ""),
        ("builtins ", "set"),
        (SideEffect.__module__, "SideEffect"),
    }
)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_no_other_name_is_looked_up(module: str, name: str) -> None:
    reference = f"c{module}\n{name}\n".encode()
    for data in (
        reference + b".",
        reference + b")R.",
        reference + b"X\x04\x00\x00\x00true\x85R.",
        reference + b")\x81.",
        reference + b")\x81}b.",
        b"(" + reference + b"o.",
        f"(i{module}\n{name}\n.".encode(),
    ):
        if (module, name) in ALLOWED and data.endswith(b")R."):
            continue
        with pytest.raises(PickleError):
            loads(data)


def test_the_allowed_names_are_few() -> None:
    # A reminder to think twice before one is added.
    assert {
        ("builtins", "set"),
        ("builtins", "frozenset"),
        ("builtins", "bytearray"),
        ("builtins", "complex"),
        ("builtins", "dict"),
        ("zodbpickle", "binary"),
        ("ZODB.POSException", "_recon"),
        ("ZopeUndo.Prefix", "Prefix"),
    } == ALLOWED


def test_exceptions_have_no_side_effects() -> None:
    data = pickle.dumps(SideEffect("x"), 2)
    global flag_was_set
    flag_was_set = False
    pickle.loads(data)
    assert flag_was_set, "the attack does not work at all"
    flag_was_set = False
    with pytest.raises(PickleError):
        loads(data)
    assert not flag_was_set


# --- hostile opcodes ----------------------------------------------------------------------------

SET = b"cbuiltins\nset\n"
PREFIX = b"cZopeUndo.Prefix\nPrefix\n"
BYTEARRAY = b"cbuiltins\nbytearray\n"

MALFORMED = {
    "empty": b"",
    "only the end": b".",
    "nothing but the protocol": b"\x80\x03.",
    "protocol 4": b"\x80\x04N.",
    "protocol cut off": b"\x80",
    "two values": b"NN.",
    "more after the end": b"N.N",
    "a mark": b"(.",
    "a mark in a list": b"](a.",
    "a mark in a tuple": b"(\x85.",
    "a mark as a key": b"}(Ns.",
    "a mark as a value": b"}N(s.",
    "a mark in a set": SET + b"](a\x85R.",
    "a class": SET + b".",
    "a class in a list": b"]" + SET + b"a.",
    "a class in a set": SET + b"]" + SET + b"a\x85R.",
    "a class as a key": b"}" + SET + b"Ns.",
    "an instance without a state": PREFIX + b")\x81.",
    "an instance in a set": SET + b"]" + PREFIX + b")\x81a\x85R.",
    "no mark": b"Nt.",
    "no mark for a list": b"]Ne.",
    "tuple of nothing": b"\x85.",
    "tuple of too little": b"N\x86.",
    "triple of too little": b"NN\x87.",
    "append to nothing": b"Na.",
    "append to a tuple": b")Na.",
    "append to a dict": b"}Na.",
    "extend a set": SET + b")R(Ne.",
    "extend a class": SET + b"(Ne.",
    "key without a value": b"}(Nu.",
    "item of a list": b"]NNs.",
    "items of a class": SET + b"(NNu.",
    "list as a key": b"}]Ns.",
    "dict as a key": b"}}Ns.",
    "tuple as a key": b"})Ns.",
    "set as a key": b"}" + SET + b")RNs.",
    "list in a set": SET + b"]]a\x85R.",
    "tuple in a set": SET + b"])a\x85R.",
    "memo that was never set": b"h\x05.",
    "long memo that was never set": b"j\xff\xff\xff\xff.",
    "memo of nothing": b"q\x00.",
    "call of a number": b"K\x01)R.",
    "call of a string": b"X\x03\x00\x00\x00set)R.",
    "call of a list": b"])R.",
    "call with a list": SET + b"]R.",
    "call with None": SET + b"NR.",
    "call of nothing": b")R.",
    "set of a number": SET + b"K\x05\x85R.",
    "set of two": SET + b"))\x86R.",
    "set of a string": SET + b"X\x02\x00\x00\x00ab\x85R.",
    "set of a dict": SET + b"}\x85R.",
    "set of a class": SET + SET + b"\x85R.",
    "bytearray of a number": BYTEARRAY + b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85R.",
    "bytearray of a small number": BYTEARRAY + b"K\x05\x85R.",
    "bytearray of a text": BYTEARRAY + b"X\x01\x00\x00\x00aX\x07\x00\x00\x00latin-1\x86R.",
    "bytearray of a list": BYTEARRAY + b"]K\x01a\x85R.",
    "complex of texts": b"cbuiltins\ncomplex\nX\x01\x00\x00\x001X\x01\x00\x00\x001\x86R.",
    "complex of one": b"cbuiltins\ncomplex\nG" + b"\0" * 8 + b"\x85R.",
    "binary of a number": b"czodbpickle\nbinary\nK\x05\x85R.",
    "call of a Prefix": PREFIX + b"X\x01\x00\x00\x00a\x85R.",
    "NEWOBJ of a set": SET + b")\x81.",
    "NEWOBJ with arguments": PREFIX + b"N\x85\x81}b.",
    "NEWOBJ with a list": PREFIX + b"]\x81}b.",
    "NEWOBJ of a number": b"K\x01)\x81.",
    "state of a class": SET + b"}b.",
    "state of a Prefix class": PREFIX + b"}b.",
    "state of a set": SET + b")R}b.",
    "state of a number": b"K\x01}b.",
    "state of nothing": b"}b.",
    "state is a list": PREFIX + b")\x81]b.",
    "state is a pair": PREFIX + b")\x81N}\x86b.",
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"X\x01\x00\x00\x00aQ.",
    "DUP": b"N2.",
    "POP": b"NN0.",
    "POP_MARK": b"N(N1.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"(" + SET + b"o.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\x00.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "LONG4": b"\x8b\x01\x00\x00\x00\x01.",
    "INT": b"I1\n.",
    "LONG": b"L1L\n.",
    "FLOAT": b"F1.0\n.",
    "STRING": b"S'a'\n.",
    "BINSTRING": b"T\x01\x00\x00\x00a.",
    "SHORT_BINSTRING": b"U\x01a.",
    "UNICODE": b"Va\n.",
    "LIST": b"(l.",
    "DICT": b"(d.",
    "PUT": b"Np0\n.",
    "GET": b"Np0\ng0\n.",
    "STACK_GLOBAL": b"X\x08\x00\x00\x00builtinsX\x03\x00\x00\x00set\x93)R.",
    "NEWOBJ_EX": PREFIX + b")}\x92.",
    "FRAME": b"\x95\x01\x00\x00\x00\x00\x00\x00\x00N.",
    "MEMOIZE": b"N\x94.",
    "EMPTY_SET": b"\x8f.",
    "BINUNICODE8": b"\x8d" + b"\xff" * 8 + b".",
    "BINBYTES8": b"\x8e" + b"\xff" * 8 + b".",
    "BYTEARRAY8": b"\x96" + b"\xff" * 8 + b".",
    "name that is not ASCII": b"c\xff\xfe\nx\n.",
    "name without an end": b"cbuiltins\nset",
    "name that is too long": b"c" + b"a" * 10_000 + b"\nx\n.",
    "text that is not UTF-8": b"X\x02\x00\x00\x00\xff\xff.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(PickleError):
        loads(MALFORMED[name])


def test_every_opcode_is_either_known_or_refused() -> None:
    allowed = {
        bytes([code]) for code, step in enumerate(picklemachine._OPCODES) if step is not None
    }
    assert allowed <= {
        getattr(pickle, name)
        for name in dir(pickle)
        if name.isupper() and isinstance(getattr(pickle, name), bytes)
    }
    for code in range(256):
        if bytes([code]) not in allowed and code != ord("."):
            with pytest.raises(PickleError, match="not allowed"):
                loads(b"NNN(" + bytes([code]) + b"\0" * 20 + b".")


def test_cut_off_at_every_byte() -> None:
    whole = dumps(
        (5, 0, "undoInfo", (0, -5, 2.5, "text", b"bytes" * 99, 2**99, [1, {"a": True}], {1}))
    )
    for end in range(len(whole)):
        with pytest.raises(PickleError):
            loads(whole[:end])
    prefix = _fast(ZopePrefix("/a/b"), 3)
    for end in range(len(prefix)):
        with pytest.raises(PickleError):
            loads(prefix[:end])


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    with contextlib.suppress(PickleError):
        loads(data)


OPCODES = [bytes([code]) for code, step in enumerate(picklemachine._OPCODES) if step is not None]
fragments = st.sampled_from(
    [*OPCODES, SET, PREFIX, BYTEARRAY, b"q\x00", b"h\x00", b"K\x01", b"C\x01a", b"X\x01\0\0\0a"]
)


@given(st.lists(fragments, max_size=40).map(b"".join))
def test_random_programs(program: bytes) -> None:
    with contextlib.suppress(PickleError):
        loads(program + b".")


@given(plain, st.data())
def test_damaged_pickles(value: Any, data: st.DataObject) -> None:
    whole = bytearray(dumps(value))
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PickleError):
        loads(whole)


# --- hostile sizes ------------------------------------------------------------------------------


def _peak(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(PickleError):
            loads(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("opcode", [b"B", b"X", b"T", b"\x8b"])
@pytest.mark.parametrize("size", [2**31 - 1, 2**32 - 1])
def test_huge_claims_take_no_memory(opcode: bytes, size: int) -> None:
    assert _peak(opcode + struct.pack("<I", size) + b"x" * 100 + b".") < 100_000


def test_a_huge_memo_index_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert loads(b"Nr\xff\xff\xff\xff.") is None
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


DEEP = 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"N" + b"\x85" * DEEP + b".",
        b"(" * DEEP + b"t" * DEEP + b".",
        b"]" * DEEP + b"a" * (DEEP - 1) + b".",
        b"}" + b"X\x01\0\0\0a}" * DEEP + b"s" * DEEP + b".",
        b"N" + b"N\x86" * DEEP + b".",
        SET + b"]N" + b"\x85" * DEEP + b"a\x85R.",
        b"}N" + b"\x85" * DEEP + b"Ns.",
        SET + b"N" + b"\x85" * DEEP + b"R.",
        PREFIX + b"N" + b"\x85" * DEEP + b"\x81.",
        PREFIX + b")\x81N" + b"\x85" * DEEP + b"b.",
        b"(" * DEEP + b".",
    ],
    ids=[
        "TUPLE1",
        "TUPLE",
        "APPEND",
        "SETITEM",
        "TUPLE2",
        "in a set",
        "in a key",
        "in arguments",
        "in NEWOBJ",
        "in a state",
        "marks",
    ],
)
def test_deep_nesting(data: bytes) -> None:
    with pytest.raises(PickleError):
        loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"]q\0h\0a.",
        b"]q\0(h\0h\0e.",
        b"}q\0Nh\0s.",
        b"]q\0h\0\x85a.",
        b"]q\0}q\x01Nh\0sa.",
        SET + b"]q\0h\0a\x85R.",
    ],
)
def test_values_that_contain_themselves(data: bytes) -> None:
    with pytest.raises(PickleError):
        loads(data)


def _laughs(open_: bytes, close: bytes) -> bytes:
    program = b"K\x01q\0"
    for level in range(60):
        again = bytes([ord("h"), level])
        program = (
            program + open_ + again + again + close + bytes([ord("q"), level + 1])
            if open_
            else program + again + b"\x86" + bytes([ord("q"), level + 1])
        )
    return program


def test_shared_values_that_unfold_without_end() -> None:
    """Every level names the one below twice; whoever walks over that never comes back."""
    before = time.process_time()
    with pytest.raises(PickleError, match="unfolds"):
        loads(_laughs(b"", b"") + b".")
    # In a set the hash itself would be such a walk.
    with pytest.raises(PickleError):
        loads(SET + b"]" + _laughs(b"", b"") + b"a\x85R.")
    assert time.process_time() - before < 5


LONG = 100_000


@pytest.mark.parametrize(
    "data",
    [
        # One long thing, named again and again.
        b"(B" + struct.pack("<I", LONG) + b"x" * LONG + b"q\0" + b"h\0" * 10_000 + b"t.",
        b"(X" + struct.pack("<I", LONG) + b"x" * LONG + b"q\0" + b"h\0" * 10_000 + b"t.",
        b"(](" + b"N" * LONG + b"eq\0" + b"h\0" * 10_000 + b"t.",
        b"(X" + struct.pack("<I", LONG) + b"x" * LONG + b"q\0" + b"}h\0Ns" * 10_000 + b"t.",
        # One long thing, copied again and again.
        b"("
        + BYTEARRAY
        + b"q\1B"
        + struct.pack("<I", LONG)
        + b"x" * LONG
        + b"q\0"
        + b"h\1h\0\x85R" * 10_000
        + b"t.",
        b"("
        + SET
        + b"q\1]("
        + b"".join(b"J" + struct.pack("<i", number) for number in range(LONG))
        + b"eq\0"
        + b"h\1h\0\x85R" * 10_000
        + b"t.",
    ],
    ids=["bytes", "text", "list", "key", "bytearrays", "sets"],
)
def test_short_messages_for_much_data(data: bytes) -> None:
    assert _peak(data) < 200 * 2**20


def test_keys_of_one_hash_are_refused() -> None:
    """A dict of long numbers that are equal modulo the hash's modulus takes quadratic time."""
    modulus = 2**61 - 1
    key = (modulus * 12345678).to_bytes(12, "little")
    assert hash(int.from_bytes(key, "little")) == 0
    number = b"\x8a" + bytes([len(key)]) + key
    with pytest.raises(PickleError, match="too long"):
        loads(b"}" + number + b"Ns.")
    with pytest.raises(PickleError, match="too long"):
        loads(SET + b"]" + number + b"a\x85R.")
    assert loads(b"}\x8a\x09" + (2**64 - 1).to_bytes(9, "little") + b"Ns.") == {2**64 - 1: None}


def test_exceptions_within_exceptions_become_plain_data() -> None:
    """A stock server that speaks Z sends the reasons of a failed undo as objects."""
    error = POSException.UndoError("no reason", b"\0" * 8)
    data = pickle.dumps({"_errs": [(b"\0" * 8, error)]}, 3)
    state = loads(data)
    assert state == {
        "_errs": [
            (
                b"\0" * 8,
                ("ZODB.POSException.UndoError", {"_reason": "no reason", "_oid": b"\0" * 8}),
            )
        ]
    }
    rebuilt = exception_from_wire(("ZODB.POSException.MultipleUndoErrors", state))
    assert type(rebuilt) is POSException.MultipleUndoErrors
    ((_, nested),) = rebuilt._errs
    assert type(nested) is POSException.UndoError and str(nested) == str(error)


@pytest.mark.parametrize("error", [OSError("x"), POSException.ReadOnlyError("x")])
def test_other_exceptions_within_exceptions_are_refused(error: Exception) -> None:
    with pytest.raises(PickleError):
        loads(pickle.dumps({"_errs": [(b"\0" * 8, error)]}, 3))


def test_dict_of_pairs() -> None:
    class Extension(dict):  # type: ignore[type-arg]
        def __reduce__(self) -> Any:
            return dict, (tuple(self.items()),)

    assert loads(pickle.dumps(Extension(a=1), 3)) == {"a": 1}
    with pytest.raises(PickleError):
        loads(b"cbuiltins\ndict\nK\x05\x85R.")


def test_what_is_no_exception_is_not_taken_for_one() -> None:
    for name in (b"cbuiltins\nset\n", b"cZopeUndo.Prefix\nPrefix\n"):
        with pytest.raises(PickleError, match="this exception"):
            loads(b"cZODB.POSException\n_recon\n" + name + b"}\x86R.")
