"""The part of pickle that the wire needs, and nothing else.

A pickle is a program, and general unpicklers run whatever a peer sends: they import modules,
call what they find there, and allocate what the program claims to need. `loads` interprets only
the opcodes that build plain data. Names of classes are looked up in one literal table, nothing is
imported, nothing on the peer's side of the table can be changed by a message, and no allocation
is larger than the message itself.

The opcodes are specified in the standard library's ``pickletools``.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from .bounds import ANY, FEW, Allowance, check_key, too_many
from .undo import Prefix

__all__ = ["PickleError", "dumps", "loads"]

_MARK = object()

_U2 = Struct("<H")
_U4 = Struct("<I")
_I4 = Struct("<i")
_F8 = Struct(">d")

# How deep values may be nested. It bounds the recursion of code that walks over the result.
_MAX_DEPTH = 100

# A message may name a value more than once, so a few bytes can stand for any amount of data. What
# it unfolds to may be this many times as long as the message, and this many bytes longer.
_MAX_GROWTH = 16
_FREE_GROWTH = 65536


class PickleError(ValueError):
    """The bytes are not a pickle of plain data."""


def _plain(value: object, kind: type | tuple[type, ...], what: str) -> Any:
    if not isinstance(value, kind):
        raise PickleError(f"{what} cannot be made from {type(value).__name__}")
    return value


def _set(items: object = ()) -> set[Any]:
    return {check_key(item) for item in _plain(items, (list, tuple), "a set")}


def _frozenset(items: object = ()) -> frozenset[Any]:
    return frozenset(_set(items))


def _bytearray(data: object = b"") -> bytearray:
    return bytearray(_plain(data, bytes, "a bytearray"))


def _complex(real: object, imaginary: object) -> complex:
    return complex(
        _plain(real, float, "a complex number"), _plain(imaginary, float, "a complex number")
    )


def _binary(data: object = b"") -> bytes:
    return bytes(_plain(data, bytes, "binary"))


def _dict(items: object = ()) -> dict[Any, Any]:
    pairs = _plain(items, (list, tuple), "a dict")
    return {check_key(key): value for key, value in pairs}


class _Global:
    """A class's name as it stood in the message."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key


def _exception(class_: object, state: object) -> tuple[str, Any]:
    """Return what `exception_from_wire` takes, for an exception within an exception."""
    if type(class_) is not _Global or class_.key not in _EXCEPTIONS or type(state) is not dict:
        raise PickleError("this exception is not allowed")
    attributes = {name: value for name, value in state.items() if name != "args"}
    return ".".join(class_.key), attributes or state.get("args", ())


# Exceptions that others may contain; they become plain data like all else.
_EXCEPTIONS = {("ZODB.POSException", "UndoError"), ("ZODB.POSException", "POSKeyError")}

# The exact names that a message may contain, and what is called in their place.
_CALLABLES: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "complex"): _complex,
    ("builtins", "dict"): _dict,
    ("zodbpickle", "binary"): _binary,
    ("ZODB.POSException", "_recon"): _exception,
}

_INSTANCES: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("ZopeUndo.Prefix", "Prefix"): Prefix.from_state,
}


class _Instance:
    """An instance whose state has not been seen yet."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[dict[str, Any]], Any]) -> None:
        self.make = make


def loads(data: bytes | bytearray, allowance: Allowance = ANY) -> Any:
    """Return the plain value that `data` describes.

    :param allowance: tells how many opcodes there may be, which are about as many as values.
    :raises PickleError: `data` is cut off, malformed, nested too deeply, or contains anything but
        ``None``, booleans, numbers, strings, bytes, tuples, lists, dicts, sets, and the classes
        in this module's tables; or too much of that.
    """
    try:
        return _Machine(bytes(data)).run(allowance)
    except PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, StructError) as error:
        # Not the representation of `error`: it may contain all of the message.
        raise PickleError(f"malformed pickle: {type(error).__name__}: {error}") from error


class _Machine:
    """The stack machine that pickle is defined by."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # What may still be copied out of `data`: each byte once.
        self.uncopied = len(data) + _FREE_GROWTH

    def run(self, allowance: Allowance) -> Any:
        if self.take_steps(FEW):
            return self.stack[0]
        # It is a long one, and what has been done tells its name.
        name = self.name()
        most = allowance.values(name, len(self.data))
        if self.take_steps(most - FEW):
            return self.stack[0]
        raise too_many(name, most)

    def take_steps(self, count: int) -> bool:
        """Return whether the end was reached with so many opcodes or less."""
        data = self.data
        size = len(data)
        opcodes = _OPCODES
        for _ in range(count):
            if self.position >= size:
                raise PickleError("the pickle is cut off")
            opcode = data[self.position]
            self.position += 1
            step = opcodes[opcode]
            if step is None:
                if opcode != _STOP:
                    raise PickleError(f"opcode {chr(opcode)!r} is not allowed")
                if len(self.stack) != 1 or self.position != size:
                    raise PickleError("data after the end of the pickle")
                _check(self.stack[0], _MAX_GROWTH * size + _FREE_GROWTH)
                return True
            step(self)
        return False

    def name(self) -> str:
        """Return the name of the message, if all of it but its arguments is on the stack."""
        head = self.stack[:4]
        return head[3] if len(head) == 4 and head[0] is _MARK and type(head[3]) is str else ""

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise PickleError("the pickle is cut off")
        value = self.data[self.position : end]
        self.position = end
        return value

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 256)
        if end < 0:
            raise PickleError("a name is cut off or too long")
        value = self.data[self.position : end].decode("ascii")
        self.position = end + 1
        return value

    def since_mark(self) -> list[Any]:
        stack = self.stack
        index = len(stack) - 1
        while stack[index] is not _MARK:
            index -= 1
            if index < 0:
                raise PickleError("mark not found")
        items = stack[index + 1 :]
        del stack[index:]
        return items

    def proto(self) -> None:
        if self.take(1)[0] > 3:
            raise PickleError("pickle protocol is newer than 3")

    def mark(self) -> None:
        self.stack.append(_MARK)

    def none(self) -> None:
        self.stack.append(None)

    def true(self) -> None:
        self.stack.append(True)

    def false(self) -> None:
        self.stack.append(False)

    def binint(self) -> None:
        self.stack.append(_I4.unpack(self.take(4))[0])

    def binint1(self) -> None:
        self.stack.append(self.take(1)[0])

    def binint2(self) -> None:
        self.stack.append(_U2.unpack(self.take(2))[0])

    def long1(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def binfloat(self) -> None:
        self.stack.append(_F8.unpack(self.take(8))[0])

    def short_binbytes(self) -> None:
        self.stack.append(self.take(self.take(1)[0]))

    def binbytes(self) -> None:
        self.stack.append(self.take(_U4.unpack(self.take(4))[0]))

    def binunicode(self) -> None:
        text = self.take(_U4.unpack(self.take(4))[0])
        self.stack.append(text.decode("utf-8", "surrogatepass"))

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple_(self) -> None:
        self.stack.append(tuple(self.since_mark()))

    def tuple1(self) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def tuple2(self) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def tuple3(self) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def empty_list(self) -> None:
        self.stack.append([])

    def append(self) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def appends(self) -> None:
        items = self.since_mark()
        self._top(list).extend(items)

    def empty_dict(self) -> None:
        self.stack.append({})

    def setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._top(dict)[check_key(key)] = value

    def setitems(self) -> None:
        items = self.since_mark()
        if len(items) % 2:
            raise PickleError("a dict has a key without a value")
        target = self._top(dict)
        for index in range(0, len(items), 2):
            target[check_key(items[index])] = items[index + 1]

    def _top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise PickleError(f"a {kind.__name__} was expected")
        return value

    def binput(self) -> None:
        self.memo[self.take(1)[0]] = self.stack[-1]

    def long_binput(self) -> None:
        self.memo[_U4.unpack(self.take(4))[0]] = self.stack[-1]

    def binget(self) -> None:
        self.stack.append(self.memo[self.take(1)[0]])

    def long_binget(self) -> None:
        self.stack.append(self.memo[_U4.unpack(self.take(4))[0]])

    def global_(self) -> None:
        key = (self.line(), self.line())
        if key not in _CALLABLES and key not in _INSTANCES and key not in _EXCEPTIONS:
            raise PickleError(f"{'.'.join(key)} is not allowed")
        self.stack.append(_Global(key))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        if type(function) is not _Global or type(arguments) is not tuple:
            raise PickleError("only a named class can be called")
        if function.key not in _CALLABLES:
            raise PickleError(f"{'.'.join(function.key)} cannot be called")
        # Each of these calls copies its arguments.
        self.uncopied -= sum(map(_size, arguments))
        if self.uncopied < 0:
            raise PickleError(_TOO_MUCH)
        self.stack.append(_CALLABLES[function.key](*arguments))

    def newobj(self) -> None:
        arguments = self.stack.pop()
        class_ = self.stack.pop()
        if type(class_) is not _Global or class_.key not in _INSTANCES or arguments != ():
            raise PickleError("this class cannot be instantiated")
        self.stack.append(_Instance(_INSTANCES[class_.key]))

    def build(self) -> None:
        state = self.stack.pop()
        instance = self.stack.pop()
        if type(instance) is not _Instance or type(state) is not dict:
            raise PickleError("this object cannot be given a state")
        self.stack.append(instance.make(state))


_STOP = ord(".")

_OPCODES: list[Callable[[_Machine], None] | None] = [None] * 256
for _opcode, _step in {
    b"\x80": _Machine.proto,
    b"(": _Machine.mark,
    b"N": _Machine.none,
    b"\x88": _Machine.true,
    b"\x89": _Machine.false,
    b"J": _Machine.binint,
    b"K": _Machine.binint1,
    b"M": _Machine.binint2,
    b"\x8a": _Machine.long1,
    b"G": _Machine.binfloat,
    b"C": _Machine.short_binbytes,
    b"B": _Machine.binbytes,
    b"X": _Machine.binunicode,
    b")": _Machine.empty_tuple,
    b"t": _Machine.tuple_,
    b"\x85": _Machine.tuple1,
    b"\x86": _Machine.tuple2,
    b"\x87": _Machine.tuple3,
    b"]": _Machine.empty_list,
    b"a": _Machine.append,
    b"e": _Machine.appends,
    b"}": _Machine.empty_dict,
    b"s": _Machine.setitem,
    b"u": _Machine.setitems,
    b"q": _Machine.binput,
    b"r": _Machine.long_binput,
    b"h": _Machine.binget,
    b"j": _Machine.long_binget,
    b"c": _Machine.global_,
    b"R": _Machine.reduce,
    b"\x81": _Machine.newobj,
    b"b": _Machine.build,
}.items():
    _OPCODES[_opcode[0]] = _step


_TOO_MUCH = "the pickle unfolds to much more than its own length"


def _size(value: object) -> int:
    """Return about how many bytes `value` adds to a copy, without what is nested in it."""
    return 1 + len(value) if isinstance(value, (bytes, str, list, tuple)) else 1


def _check(value: object, allowance: int) -> None:
    """Refuse what the machine leaves behind but no message can mean, and shared or deep nesting.

    A value that is used twice may unfold to any size once somebody copies or prints it, therefore
    all that it unfolds to is counted.
    """
    level = [value]
    for _depth in range(_MAX_DEPTH):
        below: list[object] = []
        for item in level:
            kind = type(item)
            if kind is tuple or kind is list or kind is set or kind is frozenset:
                children = item
            elif kind is dict:
                children = item.values()  # type: ignore[attr-defined]
                allowance -= sum(map(_size, item))  # type: ignore[call-overload]
            elif kind is bytes or kind is str or kind is bytearray:
                allowance -= len(item)  # type: ignore[arg-type]
                continue
            elif kind is _Global or kind is _Instance or item is _MARK:
                raise PickleError("unfinished value")
            else:
                continue
            allowance -= len(children)  # type: ignore[arg-type]
            if allowance < 0:
                break
            below.extend(children)  # type: ignore[arg-type]
        if allowance < 0:
            raise PickleError(_TOO_MUCH)
        if not below:
            return
        level = below
    raise PickleError(f"values are nested deeper than {_MAX_DEPTH}")


class _Pickler(pickle.Pickler):
    """Refuses on this side what no peer would accept on the other."""

    def reducer_override(self, obj: Any) -> Any:
        # It is asked for an object and then, with the class itself, for the object's class.
        class_ = obj if isinstance(obj, type) else type(obj)
        key = (class_.__module__, class_.__qualname__)
        if key in _CALLABLES or key in _INSTANCES:
            return NotImplemented
        raise PickleError(f"{class_.__name__} objects cannot be sent")


def dumps(value: Any) -> bytes:
    """Return `value` as a pickle of protocol 3, the one that ZEO uses.

    :raises PickleError: `value` contains something that is not plain data.
    """
    output = io.BytesIO()
    pickler = _Pickler(output, 3)
    # No memo: messages are trees, and their strings are short.
    pickler.fast = True
    try:
        pickler.dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(str(error)) from error
    return output.getvalue()
