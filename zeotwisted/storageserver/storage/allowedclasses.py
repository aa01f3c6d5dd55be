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

#: In place of a name: all classes, as in ZEO.
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


def _bytes(text: str, encoding: str) -> bytes:
    # Pickles of protocols before 3 have bytes in this form, and no other.
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(encoding)
    return text.encode("latin-1")


def _rebuilt(cls: Any, base: Any, state: Any) -> Any:
    """Do what `copyreg._reconstructor` does, for classes only."""
    if not (isinstance(cls, type) and base is object):
        raise ValueError(cls)
    return object.__new__(cls)


#: Parts of states that run no code of others. The names of Python 2 are in old records.
_PLAIN: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _bytes,
    ("datetime", "date"): datetime.date,
    ("datetime", "datetime"): datetime.datetime,
    ("datetime", "time"): datetime.time,
    ("datetime", "timedelta"): datetime.timedelta,
    ("datetime", "timezone"): datetime.timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("zodbpickle", "binary"): binary,
} | {
    (module, name): made
    for modules, table in (
        (
            ("builtins", "__builtin__"),
            {
                "bytearray": bytearray,
                "complex": complex,
                "frozenset": frozenset,
                "object": object,
                "set": set,
            },
        ),
        (("copyreg", "copy_reg"), {"_reconstructor": _rebuilt}),
    )
    for module in modules
    for name, made in table.items()
}


class AllowedClasses:
    """Finds the classes that are allowed, and puts a placeholder in the place of all others.

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
        if not isinstance(found, type) or not (named or found.__module__ == module):
            return BadClass(module, name)
        return found
