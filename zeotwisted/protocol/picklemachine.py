"""Pickle's stack machine, with only the opcodes that build plain data.

The standard library's ``pickletools`` specifies the opcodes. No allocation is larger than the
message itself.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from .bounds import FEW, Allowance, check_key, too_many
from .pickleclasses import CALLABLES, EXCEPTIONS, INSTANCES, Global, Instance, PickleError

__all__ = ["Machine"]

_MARK = object()

_U2 = Struct("<H")
_U4 = Struct("<I")
_I4 = Struct("<i")
_F8 = Struct(">d")

# The maximum number of nested levels. It prevents a RecursionError in code that walks the result.
_MAX_DEPTH = 100

# A message may refer to a value more than once, so a few bytes can describe any amount of data. The
# expanded size may be at most _MAX_GROWTH times the size of the message, plus _FREE_GROWTH bytes.
_MAX_GROWTH = 16
_FREE_GROWTH = 65536


class Machine:
    """The state of the machine while it reads one pickle."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # How many bytes and items REDUCE may still copy. A valid message copies each byte at most
        # once. Without the limit, a few bytes could cause any number of copies.
        self.uncopied = len(data) + _FREE_GROWTH

    def run(self, allowance: Allowance) -> Any:
        if self.take_steps(FEW):
            return self.stack[0]
        # After the first steps, the name of the call is on the stack.
        name = self.name()
        most = allowance.values(name, len(self.data))
        if self.take_steps(most - FEW):
            return self.stack[0]
        raise too_many(name, most)

    def take_steps(self, count: int) -> bool:
        """Run at most `count` opcodes; return whether the end was reached."""
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
        """Return the name of the call if id, flag and name are on the stack, otherwise ``""``."""
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
        if key not in CALLABLES and key not in INSTANCES and key not in EXCEPTIONS:
            raise PickleError(f"{'.'.join(key)} is not allowed")
        self.stack.append(Global(key))

    def reduce(self) -> None:
        arguments = self.stack.pop()
        function = self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise PickleError("only a named class can be called")
        if function.key not in CALLABLES:
            raise PickleError(f"{'.'.join(function.key)} cannot be called")
        # Each of these calls copies its arguments.
        self.uncopied -= sum(map(_size, arguments))
        if self.uncopied < 0:
            raise PickleError(_TOO_MUCH)
        self.stack.append(CALLABLES[function.key](*arguments))

    def newobj(self) -> None:
        arguments = self.stack.pop()
        class_ = self.stack.pop()
        if type(class_) is not Global or class_.key not in INSTANCES or arguments != ():
            raise PickleError("this class cannot be instantiated")
        self.stack.append(Instance(INSTANCES[class_.key]))

    def build(self) -> None:
        state = self.stack.pop()
        instance = self.stack.pop()
        if type(instance) is not Instance or type(state) is not dict:
            raise PickleError("this object cannot be given a state")
        self.stack.append(instance.make(state))


_STOP = ord(".")

_OPCODES: list[Callable[[Machine], None] | None] = [None] * 256
for _opcode, _step in {
    b"\x80": Machine.proto,
    b"(": Machine.mark,
    b"N": Machine.none,
    b"\x88": Machine.true,
    b"\x89": Machine.false,
    b"J": Machine.binint,
    b"K": Machine.binint1,
    b"M": Machine.binint2,
    b"\x8a": Machine.long1,
    b"G": Machine.binfloat,
    b"C": Machine.short_binbytes,
    b"B": Machine.binbytes,
    b"X": Machine.binunicode,
    b")": Machine.empty_tuple,
    b"t": Machine.tuple_,
    b"\x85": Machine.tuple1,
    b"\x86": Machine.tuple2,
    b"\x87": Machine.tuple3,
    b"]": Machine.empty_list,
    b"a": Machine.append,
    b"e": Machine.appends,
    b"}": Machine.empty_dict,
    b"s": Machine.setitem,
    b"u": Machine.setitems,
    b"q": Machine.binput,
    b"r": Machine.long_binput,
    b"h": Machine.binget,
    b"j": Machine.long_binget,
    b"c": Machine.global_,
    b"R": Machine.reduce,
    b"\x81": Machine.newobj,
    b"b": Machine.build,
}.items():
    _OPCODES[_opcode[0]] = _step


_TOO_MUCH = "the pickle unfolds to much more than its own length"


def _size(value: object) -> int:
    """Return the approximate cost of copying `value`, not of the values that it contains."""
    return 1 + len(value) if isinstance(value, (bytes, str, list, tuple)) else 1


def _check(value: object, allowance: int) -> None:
    """Refuse unfinished values, values that are nested too deeply, and too large ones.

    A value that is used many times takes little memory, but may become very large when it is copied
    or printed. So each use counts.

    :raises PickleError: the value is refused.
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
            elif kind is Global or kind is Instance or item is _MARK:
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
