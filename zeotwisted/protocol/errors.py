"""Exceptions on the wire: a class name with arguments or attributes, never an object.

The name is that of the exception's class or of the nearest base class that the other end knows. The
message also carries the exception's further attributes and, if a base class is sent, the name of
the exception's own class.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from transaction import interfaces as transactions
from ZODB import POSException
from ZODB.interfaces import BlobError

from zeotwisted.exceptions import (
    AccessDenied,
    ServerException,
    TransactionTimeout,
    server_os_error,
)

__all__ = ["exception_from_wire", "exception_to_wire"]

_CONFLICT = ("message", "oid", "class_name", "serials")

# The keys of a state that are not attributes: the arguments, and the name of the original class.
_ARGS = "args"
_CLASS = "class"

# Limits for the values that are sent with an exception: levels of nesting, number of values, length
# of a string (characters or bytes), length of a repr.
_DEEPEST = 6
_MOST = 1000
_LONGEST = 65536
_LONGEST_REPR = 1000

#: How many of the errors of an undo are sent. Each has three values.
_MOST_UNDO_ERRORS = 300

#: The module of Python 2's built-in exceptions, which ZEO's clients know, too.
_OLD_BUILTINS = "exceptions."

_Maker = Callable[[Any], Exception]


def _from_arguments(class_: Callable[..., Exception]) -> _Maker:
    def make(state: Any) -> Exception:
        return class_(*_arguments(state))

    return make


def _arguments(state: Any) -> Any:
    arguments = state[_ARGS] if isinstance(state, dict) else state
    if not isinstance(arguments, (tuple, list)):
        raise TypeError(arguments)
    return arguments


def _os_error(class_: type[OSError]) -> _Maker:
    def make(state: Any) -> Exception:
        return server_os_error(class_, *_arguments(state))

    return make


def _conflict(class_: Callable[..., Exception]) -> _Maker:
    def make(state: Any) -> Exception:
        error: Any = class_(message=state["message"], oid=state["oid"], serials=state["serials"])
        error.class_name = state.get("class_name")
        return error

    return make


def _btrees_conflict(state: Any) -> Exception:
    return POSException.BTreesConflictError(state["p1"], state["p2"], state["p3"], state["reason"])


def _dangling(state: Any) -> Exception:
    return POSException.DanglingReferenceError(state["referer"], state["missing"])


def _undo(state: Any) -> Exception:
    return POSException.UndoError(state["_reason"], state["_oid"])


def _undos(state: Any) -> Exception:
    return POSException.MultipleUndoErrors([tuple(map(_nested, error)) for error in state["_errs"]])


# Each class that is sent under its own name: the function that recreates the exception, and the
# attributes that are its state. None means that its arguments are its state. Python's other
# exceptions are not here: an application might take a server's bug for a bug of its own.
_KNOWN: dict[type[BaseException], tuple[_Maker, tuple[str, ...] | None]] = {
    POSException.BTreesConflictError: (_btrees_conflict, ("p1", "p2", "p3", "reason")),
    POSException.ConflictError: (_conflict(POSException.ConflictError), _CONFLICT),
    POSException.DanglingReferenceError: (_dangling, ("referer", "missing")),
    POSException.MultipleUndoErrors: (_undos, ("_reason", "_oid", "_errs")),
    POSException.ReadConflictError: (_conflict(POSException.ReadConflictError), _CONFLICT),
    POSException.UndoError: (_undo, ("_reason", "_oid")),
}
for _class in (
    AccessDenied,
    TransactionTimeout,
    KeyError,
    TypeError,
    BlobError,
    transactions.AlreadyInTransaction,
    transactions.DoomedTransaction,
    transactions.NoTransaction,
    transactions.TransactionError,
    transactions.TransactionFailedError,
    transactions.TransientError,
    # ZODB's other exceptions are recreated from their arguments.
    *(
        class_
        for class_ in vars(POSException).values()
        if isinstance(class_, type)
        and issubclass(class_, POSException.POSError)
        and class_ not in _KNOWN
    ),
):
    _KNOWN[_class] = (_from_arguments(_class), None)
_OS_ERRORS = (
    OSError,
    BlockingIOError,
    BrokenPipeError,
    ChildProcessError,
    ConnectionAbortedError,
    ConnectionError,
    ConnectionRefusedError,
    ConnectionResetError,
    FileExistsError,
    FileNotFoundError,
    InterruptedError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
    TimeoutError,
)
for _os_class in _OS_ERRORS:
    _KNOWN[_os_class] = (_os_error(_os_class), None)

# The classes that stock clients recreate. For those in _BARE they accept only arguments.
_BARE: set[Any] = {
    KeyError,
    TypeError,
    POSException.POSKeyError,
    POSException.ReadOnlyError,
    POSException.StorageTransactionError,
}
_STOCK: set[Any] = _BARE | {
    POSException.BTreesConflictError,
    POSException.ConflictError,
    POSException.MultipleUndoErrors,
    POSException.ReadConflictError,
}

# Attributes of built-in exceptions that are neither in __dict__ nor in args.
_OUTSIDE: dict[type[BaseException], tuple[str, ...]] = {
    ImportError: ("name", "path"),
    AttributeError: ("name",),
    NameError: ("name",),
}


def _name(class_: type[BaseException]) -> str:
    return f"{class_.__module__}.{class_.__name__}"


_BY_NAME = {_name(class_): make for class_, (make, _) in _KNOWN.items()}


def exception_to_wire(error: BaseException, extended: bool = True) -> tuple[str, Any]:
    """Return a class name for `error` and its state: a dict of attributes or a tuple.

    It does not raise, even if methods of `error` do. The result has a limited size.

    :param extended: the connection uses version 6. A stock peer knows fewer classes: for any other
        class it gets the class's real name, and for some classes it accepts only arguments.
    """
    if not extended and type(error) is POSException.UndoError:
        # RelStorage raises this one. Stock clients recreate its subclass only, with the same text.
        oid, reason = _attribute(error, "_oid"), _attribute(error, "_reason")
        error = POSException.MultipleUndoErrors([(oid, reason)])
    return _Teller(extended).tell(error, _DEEPEST)


class _Teller:
    """Describes one exception in plain data of a limited size."""

    def __init__(self, extended: bool) -> None:
        self._extended = extended
        self._left = _MOST

    def tell(self, error: BaseException, depth: int) -> tuple[str, Any]:
        class_ = type(error)
        if issubclass(class_, ServerException):
            # This server is itself a client of another server. Pass on the original exception.
            arguments = _error_arguments(error)
            if issubclass(class_, OSError):
                class_ = next(base for base in class_.__mro__ if base in _OS_ERRORS)
            elif len(arguments) == 2 and type(arguments[0]) is str:
                return arguments[0], self.plain(arguments[1], depth)
        table = _KNOWN if self._extended or class_ in _KNOWN else _STOCK
        known = next((base for base in class_.__mro__ if base in table), None)
        names = None if known is None else _KNOWN[known][1]
        state: dict[str, Any] = {}
        if names is not None:
            values = _safely(_readable, error, error)
            state = {name: self.plain(_attribute(values, name), depth) for name in names}
        arguments = self.plain(_error_arguments(error), depth)
        if known not in _BARE or self._extended:
            for name, value in _other_attributes(error, state).items():
                state[name] = self.plain(value, depth)
            if known is not None and known is not class_:
                state[_CLASS] = self.plain(_name(class_), depth)
            if state and names is None:
                state[_ARGS] = arguments
        return _name(class_ if known is None else known), state or arguments

    def plain(self, value: Any, depth: int) -> Any:
        """Return a copy of `value` that both codecs can send; the repr of what they cannot send."""
        self._left -= 1
        # Not isinstance: it trusts value.__class__, which may be wrong.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, float):
            return float.__float__(value)
        if issubclass(kind, int) and -(2**63) <= value < 2**64:
            return int.__int__(value)
        if issubclass(kind, os.PathLike):
            return self.plain(_safely(os.fspath, value, kind.__name__), depth)
        if issubclass(kind, str):
            # File names may contain surrogates, which UTF-8 cannot encode.
            return value[:_LONGEST].encode("utf-8", "backslashreplace").decode()
        if issubclass(kind, (bytes, bytearray)):
            return bytes(memoryview(value)[:_LONGEST])
        if depth > 0 and self._left > 0:
            if issubclass(kind, BaseException):
                return self.tell(value, depth - 1)
            if kind in (tuple, list, set, frozenset):
                return tuple([self.plain(item, depth - 1) for item in self._first(value)])
            if kind is dict:
                return {
                    self.plain(key, 0): self.plain(item, depth - 1)
                    for key, item in self._first(value.items())
                }
        return self.plain(_safely(repr, value, kind.__name__)[:_LONGEST_REPR], 0)

    def _first(self, values: Iterable[Any]) -> Iterator[Any]:
        return islice(values, self._left)


def _safely(function: Callable[[Any], Any], value: Any, otherwise: Any) -> Any:
    """Return ``function(value)``, or `otherwise` if that raises.

    It runs code of the application's exception, which may have bugs.
    """
    try:
        return function(value)
    except Exception:
        return otherwise


def _readable(error: BaseException) -> Any:
    """Return an exception whose attributes all ends can show, with the same text.

    The reasons of `MultipleUndoErrors` are exceptions, which ZEO's clients cannot make again. One
    undo may have thousands of them.
    """
    if not isinstance(error, POSException.MultipleUndoErrors):
        return error
    errors = [
        (oid, str(reason) if isinstance(reason, BaseException) else reason)
        for oid, reason in vars(error)["_errs"][:_MOST_UNDO_ERRORS]
    ]
    return POSException.MultipleUndoErrors(errors)


def _attribute(error: BaseException, name: str) -> Any:
    return _safely(lambda error: getattr(error, name, None), error, None)


def _error_arguments(error: BaseException) -> Any:
    if issubclass(type(error), OSError):
        # __reduce__ returns the names of files too; OSError removes them from args.
        return _safely(lambda error: OSError.__reduce__(error)[1], error, ())
    return BaseException.args.__get__(error)  # type: ignore[attr-defined]


def _other_attributes(error: BaseException, state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of `error` that are not in `state`; the arguments are not included."""
    found: dict[Any, Any] = {}
    for class_ in type(error).__mro__:
        slots = vars(class_).get("__slots__", ())
        for name in _OUTSIDE.get(class_, (slots,) if isinstance(slots, str) else slots):
            value = _attribute(error, name)
            if value is not None:
                found[name] = value
    found.update(_safely(vars, error, {}))
    return {
        name: value for name, value in found.items() if _is_attribute(name) and name not in state
    }


def _is_attribute(name: object) -> bool:
    """Return whether an exception may be given an attribute of this name."""
    return (
        type(name) is str
        and name.isidentifier()
        and name != _ARGS
        and (not name.startswith("__") or name == "__notes__")
        # A peer must not replace methods of the class. Python 3.10 has no add_note yet.
        and not hasattr(BaseException, name)
        and name != "add_note"
    )


def exception_from_wire(wire: object) -> Exception:
    """Return the exception that a peer described by `wire`.

    If the class is unknown or `wire` is malformed, the result is a `ServerException` that contains
    what the peer sent. If the peer raised a subclass of the returned exception's class, the
    attribute `server_class` is the name of that subclass.
    """
    if not (isinstance(wire, tuple) and len(wire) == 2 and isinstance(wire[0], str)):
        return ServerException("malformed error", wire)
    name, state = wire
    error: Exception | None = None
    if name.startswith(_OLD_BUILTINS):
        name = f"builtins.{name.removeprefix(_OLD_BUILTINS)}"
    make = _BY_NAME.get(name)
    if make is not None:
        # If the class rejects the state, a ServerException reports the state unchanged.
        with suppress(KeyError, TypeError, IndexError, ValueError, AttributeError):
            error = make(state)
    if error is None:
        error = ServerException(*wire)
    if isinstance(state, dict):
        own = vars(error)
        for key, value in state.items():
            if _is_attribute(key) and key not in own and key != _CLASS:
                own[key] = list(value) if key == "__notes__" else _nested(value)
        if _CLASS in state:
            own["server_class"] = state[_CLASS]
    return error


def _nested(value: Any) -> Any:
    """Return the exception that `value` describes, or `value` if it describes none."""
    if type(value) is tuple and len(value) == 2 and value[0] in _BY_NAME:
        return exception_from_wire(value)
    return value
