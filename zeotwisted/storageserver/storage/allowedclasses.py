"""The classes that the daemon may load to resolve conflicts.

Records name classes, and whoever may write chooses the records. To load a class is to run code.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

from ZODB.ConflictResolution import BadClass
from zodbpickle import binary

__all__ = ["EVERYTHING", "AllowedClasses", "default_classes"]

#: In place of a name: all classes.
EVERYTHING = "*"

#: The kinds of keys and values of BTrees.
_FAMILIES = tuple(
    [
        "OO",
        "OI",
        "OL",
        "OU",
        "OQ",
        "IO",
        "II",
        "IF",
        "IU",
        "LO",
        "LL",
        "LF",
        "LQ",
        "UO",
        "UU",
        "UF",
        "UI",
        "QO",
        "QQ",
        "QF",
        "QL",
        "fs",
    ]
)


def default_classes(has_roles: bool) -> tuple[str, ...]:
    """Return the classes that are allowed without a setting: those of BTrees.

    :param has_roles: whether clients have different roles. Then no class is allowed, because not
        every client is trusted.
    """
    if has_roles:
        return ()
    kinds = ("BTree", "Bucket", "Set", "TreeSet")
    return (
        "BTrees.Length.Length",
        *(f"BTrees.{family}BTree.{family}{kind}" for family in _FAMILIES for kind in kinds),
    )


class _Helper:
    """A function that pickles may call. It has no attributes that a pickle could change."""

    __slots__ = ()


class _Bytes(_Helper):
    """Bytes in pickles of protocols before 3, which have no other form."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise ValueError(encoding)
        return text.encode("latin-1")


class _Rebuilt(_Helper):
    """What `copyreg._reconstructor` does, for allowed classes only."""

    __slots__ = ()

    def __call__(self, cls: Any, base: Any, state: Any) -> Any:
        if not (isinstance(cls, type) and base is object):
            raise ValueError(cls)
        return object.__new__(cls)


class _ByteArray(_Helper):
    """A bytearray of bytes. With a number it would take as much memory as the number says."""

    __slots__ = ()

    def __call__(self, value: bytes | str = b"", encoding: str = "") -> bytearray:
        if isinstance(value, str):
            return bytearray(_Bytes()(value, encoding))
        return bytearray(_checked_bytes(value))


class _Binary(_Helper):
    """`zodbpickle.binary`, whose attributes a pickle could change."""

    __slots__ = ()

    def __call__(self, value: bytes = b"") -> bytes:
        made: bytes = binary(_checked_bytes(value))
        return made


def _checked_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(type(value))
    return value


_BUILTINS: dict[str, Callable[..., Any]] = {
    "bytearray": _ByteArray(),
    "complex": complex,
    "frozenset": frozenset,
    "object": object,
    "set": set,
}

#: Parts of states that run no code of others. The names of Python 2 are in old records.
_PLAIN: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _Bytes(),
    ("copyreg", "_reconstructor"): _Rebuilt(),
    ("copy_reg", "_reconstructor"): _Rebuilt(),
    ("datetime", "date"): datetime.date,
    ("datetime", "datetime"): datetime.datetime,
    ("datetime", "time"): datetime.time,
    ("datetime", "timedelta"): datetime.timedelta,
    ("datetime", "timezone"): datetime.timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("zodbpickle", "binary"): _Binary(),
    **{("builtins", name): made for name, made in _BUILTINS.items()},
    **{("__builtin__", name): made for name, made in _BUILTINS.items()},
}


class AllowedClasses:
    """Finds the classes that are allowed, and puts a placeholder in the place of all others.

    A class has to have a method `__setstate__`, as all persistent classes do. A pickle could set
    attributes of other classes themselves, for the rest of the daemon's life.

    :param names: dotted names of classes and of modules. A module allows the classes that are
        defined in it, and nothing else that can be found there.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)

    def find(self, module: str, name: str) -> Any:
        """Return the class or function with this name.

        If it is not allowed, or does not exist, return a `BadClass`, which cannot be called. It may
        be a part of a reference to an object, but not of a state.
        """
        found = _PLAIN.get((module, name))
        if found is not None:
            return found
        if type(module) is not str or type(name) is not str or "." in name:
            return BadClass(str(module), str(name))
        named = f"{module}.{name}" in self._names
        if not named and module not in self._names:
            return BadClass(module, name)
        try:
            found = getattr(import_module(module), name, None)
        except ImportError:
            found = None
        if (
            isinstance(found, type)
            and hasattr(found, "__setstate__")
            and (named or found.__module__ == module)
        ):
            return found
        return BadClass(module, name)
