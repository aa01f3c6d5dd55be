"""Exceptions on the wire: a class name with arguments or attributes, never an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB import POSException

from zeotwisted.exceptions import ServerException

__all__ = ["exception_from_wire", "exception_to_wire"]

_CONFLICT = ("message", "oid", "class_name", "serials")


def _from_arguments(class_: Callable[..., Exception]) -> Callable[[Any], Exception]:
    def make(state: Any) -> Exception:
        # An exception with attributes of its own comes as a dict of them; its arguments are lost.
        if not isinstance(state, (tuple, list)):
            raise TypeError(state)
        return class_(*state)

    return make


def _conflict(class_: Callable[..., Exception]) -> Callable[[Any], Exception]:
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


# Each class that crosses the wire as itself: how it is made again, and the attributes that make up
# its state; None stands for its arguments.
_KNOWN: dict[type[BaseException], tuple[Callable[[Any], Exception], tuple[str, ...] | None]] = {
    KeyError: (_from_arguments(KeyError), None),
    TypeError: (_from_arguments(TypeError), None),
    POSException.BTreesConflictError: (_btrees_conflict, ("p1", "p2", "p3", "reason")),
    POSException.ConflictError: (_conflict(POSException.ConflictError), _CONFLICT),
    POSException.DanglingReferenceError: (_dangling, ("referer", "missing")),
    POSException.MultipleUndoErrors: (_undos, ("_reason", "_oid", "_errs")),
    POSException.POSKeyError: (_from_arguments(POSException.POSKeyError), None),
    POSException.ReadConflictError: (_conflict(POSException.ReadConflictError), _CONFLICT),
    POSException.ReadOnlyError: (_from_arguments(POSException.ReadOnlyError), None),
    POSException.StorageError: (_from_arguments(POSException.StorageError), None),
    POSException.StorageSystemError: (_from_arguments(POSException.StorageSystemError), None),
    POSException.StorageTransactionError: (
        _from_arguments(POSException.StorageTransactionError),
        None,
    ),
    POSException.UndoError: (_undo, ("_reason", "_oid")),
    POSException.Unsupported: (_from_arguments(POSException.Unsupported), None),
}


def _name(class_: type[BaseException]) -> str:
    return f"{class_.__module__}.{class_.__name__}"


_BY_NAME = {_name(class_): make for class_, (make, _) in _KNOWN.items()}


def exception_to_wire(error: BaseException) -> tuple[str, Any]:
    """Return the class name of `error` and its state: a dict of attributes or a tuple."""
    class_ = type(error)
    _, attributes = _KNOWN.get(class_, (None, None))
    if attributes is not None:
        return _name(class_), {name: _plain(getattr(error, name, None)) for name in attributes}
    return _name(class_), tuple(_plain(argument) for argument in error.args)


def exception_from_wire(wire: object) -> Exception:
    """Return the exception that a peer described by `wire`.

    What is unknown or malformed becomes a `ServerException` that keeps the peer's words.
    """
    if not (isinstance(wire, tuple) and len(wire) == 2 and isinstance(wire[0], str)):
        return ServerException("malformed error", wire)
    name, state = wire
    make = _BY_NAME.get(name.replace("exceptions.", "builtins.", 1))
    if make is not None:
        try:
            return make(state)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError):
            # A state that the class does not take is reported as it came.
            pass
    return ServerException(name, state)


def _nested(value: Any) -> Any:
    """Return the exception that `value` describes, if it does."""
    if type(value) is tuple and len(value) == 2 and value[0] in _BY_NAME:
        return exception_from_wire(value)
    return value


def _plain(value: Any) -> Any:
    """Return what both codecs can send of `value`."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Exception):
        return exception_to_wire(value)
    return repr(value)
