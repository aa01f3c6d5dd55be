"""A transaction's extension: the data that an application adds to user and description.

Storages keep it as a pickle, and version 6 sends that pickle unchanged. The application that reads
the transaction loads the pickle. The server must not: loading a pickle can run arbitrary code. If
the server needs the contents, `described` reads the pickle without running any of its code.
"""

from __future__ import annotations

import datetime
import decimal
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from ZODB._compat import dumps

__all__ = ["EMPTY", "Unknown", "Unreadable", "described", "plain", "stored", "with_entry"]

#: `described` refuses longer extensions (bytes). A FileStorage accepts at most 65 535 bytes.
_LONGEST = 2**17

#: Limits for an extension that is sent in version 5: levels of nesting, and the sum of the number
#: of items and the lengths of strings.
_MAX_DEPTH = 40
_ALLOWANCE = 2**17

_TOO_MUCH = "..."

#: The greatest length of the text that replaces an object.
_LONGEST_TEXT = 1000


class Unreadable(ValueError):
    """A pickle is broken, or contains something that cannot be shown."""


class Unknown:
    """Takes the place of an object that was not loaded; the repr names the object's class."""

    def __init__(self, name: str) -> None:
        self._name = name[:_LONGEST_TEXT]

    def __repr__(self) -> str:
        return f"<{self._name}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"an object of {self._name} cannot be sent")


def stored(extension: Mapping[Any, Any]) -> bytes:
    """Return `extension` as storages keep it: a pickle, or ``b""`` if it is empty."""
    return dumps(dict(extension), 3) if extension else b""


#: The pickle of an empty dict.
EMPTY = b"\x80\x03}."


def with_entry(pickle: bytes, key: str, value: bytes) -> bytes:
    """Return a stored extension with one more entry, whose key it must not have yet.

    No pickle is loaded, and the existing entries stay the same byte for byte.

    :param value: a pickle.
    """
    return b"%b%b%bs." % ((pickle or EMPTY)[:-1], _string(key), (value or EMPTY)[:-1])


def _string(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def described(pickle: bytes) -> dict[Any, Any]:
    """Return the contents of a stored extension, with `Unknown` in place of instances of classes.

    Nothing is imported, and only constructors of plain values are called.

    :raises Unreadable: it is not a pickle of a dict, or is too long.
    """
    if not pickle:
        return {}
    if len(pickle) > _LONGEST:
        raise Unreadable("too long")
    try:
        value = _Reader(len(pickle)).read(pickle)
    except Unreadable:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    if type(value) is not dict:
        raise Unreadable(f"{type(value).__name__} instead of a dict")
    return value


_MARK = object()
_SCALARS = (str, bytes, int, float, type(None))


def _key(value: Any) -> Any:
    """Return `value` if it can be a key.

    :raises Unreadable: hashing it might take very long or recurse too deeply.
    """
    if type(value) is tuple and len(value) <= _MAX_DEPTH and all(map(_is_simple, value)):
        return value
    if not _is_simple(value):
        raise Unreadable(f"{type(value).__name__} as a key")
    return value


def _is_simple(value: Any) -> bool:
    if type(value) is int:
        # An attacker can make many longer numbers with the same hash.
        return -(2**63) <= value < 2**64
    return isinstance(value, _SCALARS)


def _set(items: Any = ()) -> set[Any]:
    return {_key(item) for item in _sequence(items)}


def _frozenset(items: Any = ()) -> frozenset[Any]:
    return frozenset(_set(items))


def _sequence(value: Any) -> Any:
    if type(value) not in (list, tuple):
        raise Unreadable(f"{type(value).__name__} instead of a list")
    return value


def _bytes(value: Any = b"", encoding: Any = None) -> bytes:
    # Pickle protocols before 3 have no bytes. They store ``_codecs.encode(text, "latin1")``.
    if type(value) is str and encoding in ("latin1", "latin-1"):
        return value.encode("latin-1")
    if type(value) is not bytes:
        raise Unreadable(f"{type(value).__name__} instead of bytes")
    return value


def _dict(items: Any = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in map(_sequence, _sequence(items))}


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        raise Unreadable("a key without a value")
    return list(zip(items[::2], items[1::2]))  # noqa: B905 - as many


#: The function that is called for each name. Those that are not in `_PLAIN_ARGUMENTS` get only
#: numbers, None and short strings.
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.dict": _dict,
    "builtins.bytearray": _bytes,
    "builtins.bytes": _bytes,
    "__builtin__.set": _set,
    "__builtin__.frozenset": _frozenset,
    "__builtin__.bytes": _bytes,
    "_codecs.encode": _bytes,
    "zodbpickle.binary": _bytes,
    "builtins.complex": complex,
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
}

_PLAIN_ARGUMENTS = {_set, _frozenset, _dict, _bytes}


class _Name:
    """The name of a class or function in a pickle."""

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, arguments: Any) -> Any:
        make = _CONSTRUCTORS.get(self.name)
        arguments = _sequence(arguments)
        if make is None or not (make in _PLAIN_ARGUMENTS or all(map(_is_short, arguments))):
            return Unknown(self.name)
        try:
            return make(*arguments)
        except (ArithmeticError, TypeError, ValueError):
            return Unknown(self.name)


def _is_short(value: Any) -> bool:
    return _is_simple(value) and (not isinstance(value, (str, bytes)) or len(value) < 100)


class _Reader:
    """Pickle's stack machine, which builds plain values only.

    :param size: the size of the pickle, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # How many items constructors may still copy. Without the limit, a few bytes of a pickle
        # could cause any number of copies.
        self.uncopied = 4 * size

    def read(self, pickle: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name == "STOP":
                (value,) = self.stack
                return value
            step = _STEPS.get(opcode.name)
            if step is None:
                raise Unreadable(f"opcode {opcode.name}")
            step(self, argument)
        raise Unreadable("it has no end")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        index = len(self.stack) - 1
        while self.stack[index] is not _MARK:
            index -= 1
            if index < 0:
                raise Unreadable("no mark")
        items = self.stack[index + 1 :]
        del self.stack[index:]
        return items

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise Unreadable("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.push(self.memo[index])

    def string(self, value: str) -> None:
        """Push a string of Python 2, which may be bytes."""
        self.push(value if value.isascii() else value.encode("latin-1"))

    def name(self, value: str) -> None:
        self.push(_Name(value.replace(" ", ".", 1)))

    def stack_name(self, argument: None) -> None:
        names = self.pop(2)
        if not all(type(name) is str for name in names):
            raise Unreadable("a name that is no string")
        self.push(_Name(".".join(names)))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is not Unknown:
            raise Unreadable(f"items for {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is dict:
            target.update(_dict(_pairs(items)))
        elif type(target) is not Unknown:
            raise Unreadable(f"items for {type(target).__name__}")

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise Unreadable(f"members for {type(target).__name__}")
        target.update(map(_key, items))

    def reduce(self, argument: None) -> None:
        function, arguments = self.pop(2)
        if type(function) is not _Name:
            self.push(Unknown("object"))
            return
        self.uncopied -= sum(
            len(each) for each in _sequence(arguments) if type(each) in (list, tuple)
        )
        if self.uncopied < 0:
            raise Unreadable("too many copies")
        self.push(function.call(arguments))

    def new(self, count: int) -> None:
        class_, *_ = self.pop(count)
        self.push(Unknown(class_.name if type(class_) is _Name else "object"))

    def build(self, argument: None) -> None:
        # An Unknown has no state.
        self.pop(1)

    def instance(self, name: str) -> None:
        self.since_mark()
        self.push(Unknown(name.replace(" ", ".", 1)))

    def persistent(self, reference: Any) -> None:
        self.push(Unknown("persistent object"))

    def old_object(self, argument: None) -> None:
        class_ = self.since_mark()[0]
        self.push(Unknown(class_.name if type(class_) is _Name else "object"))


def _pushes(value: Any) -> Callable[[_Reader, Any], None]:
    return lambda reader, argument: reader.push(value)


_PUSHED = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
)

_STEPS: dict[str, Callable[[_Reader, Any], Any]] = {
    **dict.fromkeys(_PUSHED.split(), _Reader.push),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _Reader.string),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Reader.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Reader.get),
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, argument: None),
    "BYTEARRAY8": lambda reader, value: reader.push(bytes(value)),
    "MEMOIZE": lambda reader, argument: reader.put(len(reader.memo)),
    "MARK": _pushes(_MARK),
    "NONE": _pushes(None),
    "NEWTRUE": _pushes(True),
    "NEWFALSE": _pushes(False),
    "EMPTY_TUPLE": _pushes(()),
    "EMPTY_LIST": lambda reader, argument: reader.push([]),
    "EMPTY_DICT": lambda reader, argument: reader.push({}),
    "EMPTY_SET": lambda reader, argument: reader.push(set()),
    "TUPLE": lambda reader, argument: reader.push(tuple(reader.since_mark())),
    "TUPLE1": lambda reader, argument: reader.push(tuple(reader.pop(1))),
    "TUPLE2": lambda reader, argument: reader.push(tuple(reader.pop(2))),
    "TUPLE3": lambda reader, argument: reader.push(tuple(reader.pop(3))),
    "LIST": lambda reader, argument: reader.push(reader.since_mark()),
    "FROZENSET": lambda reader, argument: reader.push(_frozenset(reader.since_mark())),
    "DICT": lambda reader, argument: reader.push(_dict(_pairs(reader.since_mark()))),
    "APPEND": lambda reader, argument: reader.append(reader.pop(1)),
    "APPENDS": lambda reader, argument: reader.append(reader.since_mark()),
    "SETITEM": lambda reader, argument: reader.set_items(reader.pop(2)),
    "SETITEMS": lambda reader, argument: reader.set_items(reader.since_mark()),
    "ADDITEMS": lambda reader, argument: reader.add_items(reader.since_mark()),
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.stack_name,
    "REDUCE": _Reader.reduce,
    "NEWOBJ": lambda reader, argument: reader.new(2),
    "NEWOBJ_EX": lambda reader, argument: reader.new(3),
    "BUILD": _Reader.build,
    "INST": _Reader.instance,
    "OBJ": _Reader.old_object,
    "POP": lambda reader, argument: reader.pop(1),
    "PERSID": _Reader.persistent,
    "BINPERSID": lambda reader, argument: reader.persistent(reader.pop(1)),
}


def plain(value: Any, letter: bytes) -> Any:
    """Return the value most similar to `value` that version 5 can send and stock peers accept.

    A text describes what cannot be sent. Very large or deeply nested values are cut off.

    :param letter: the letter of the encoding.
    """
    return _Sendable(msgpack=letter == b"M").value(value, _MAX_DEPTH)


class _Sendable:
    """Converts values to values that can be sent.

    :param msgpack: the encoding is msgpack. Then integers have at most 64 bits, strings are UTF-8,
        and stock peers accept only strings and bytes as keys.
    """

    def __init__(self, msgpack: bool) -> None:
        self._msgpack = msgpack
        self._allowance = _ALLOWANCE

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._allowance -= 1 + (len(value) if kind in (str, bytes, bytearray) else 0)
        if depth == 0 or self._allowance < 0:
            return _TOO_MUCH
        if kind in (list, tuple):
            return kind(self._values(value, depth))
        if isinstance(value, dict):
            keys = self._values(value, depth, self._key)
            return dict(zip(keys, self._values(value.values(), depth)))  # noqa: B905 - as many
        if kind in (set, frozenset):
            text = ", ".join(sorted(map(repr, self._values(value, depth))))
            return f"{kind.__name__}({{{text}}})"
        return self._scalar(value)

    def _values(self, values: Any, depth: int, convert: Any = None) -> list[Any]:
        convert = convert or self.value
        made = []
        for value in values:
            if self._allowance < 0:
                break
            made.append(convert(value, depth - 1))
        return made

    def _key(self, value: Any, depth: int) -> Any:
        parts = value if type(value) is tuple else (value,)
        self._allowance -= sum(len(each) for each in parts if type(each) in (str, bytes))
        if self._allowance < 0:
            return _TOO_MUCH
        if type(value) in (str, bytes):
            return self._scalar(value)
        if not self._msgpack and (value is None or type(value) in (bool, int, float)):
            return self._scalar(value)
        return _text(value)

    def _scalar(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in (bool, float, bytes):
            return value
        if isinstance(value, (bytes, bytearray)):
            return bytes(value)
        if kind is int:
            fits = -(2**63) <= value < 2**64 if self._msgpack else value.bit_length() < 2000
            return value if fits else _text(value)
        if isinstance(value, str):
            text = str(value)
            if self._msgpack:
                text = text.encode("utf-8", "backslashreplace").decode()
            return text
        return _text(value)


def _text(value: Any) -> str:
    if type(value) is int:
        return str(value) if value.bit_length() < 2000 else hex(value)
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text[:_LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()
