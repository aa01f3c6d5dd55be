"""The names of classes that a pickle may contain, and the functions that replace these classes.

Any other name is refused. A message cannot cause an import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bounds import check_key
from .undo import Prefix

__all__ = ["CALLABLES", "EXCEPTIONS", "INSTANCES", "Global", "Instance", "PickleError"]


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


class Global:
    """The name of a class in the message."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key


def _exception(class_: object, state: object) -> tuple[str, Any]:
    """Return the argument of `exception_from_wire` for an exception within an exception."""
    if type(class_) is not Global or class_.key not in EXCEPTIONS or type(state) is not dict:
        raise PickleError("this exception is not allowed")
    attributes = {name: value for name, value in state.items() if name != "args"}
    return ".".join(class_.key), attributes or state.get("args", ())


# Exceptions that other exceptions may contain. They are decoded as plain data.
EXCEPTIONS = {("ZODB.POSException", "UndoError"), ("ZODB.POSException", "POSKeyError")}

# The functions to call in place of these names.
CALLABLES: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "complex"): _complex,
    ("builtins", "dict"): _dict,
    ("zodbpickle", "binary"): _binary,
    ("ZODB.POSException", "_recon"): _exception,
}

INSTANCES: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("ZopeUndo.Prefix", "Prefix"): Prefix.from_state,
}


class Instance:
    """An instance whose state the machine has not read yet."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[dict[str, Any]], Any]) -> None:
        self.make = make
