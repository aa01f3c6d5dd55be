"""Refuses arguments that can never work, and says what to write instead.

A table has a `Rule` for each argument of a function: a check, and the text for the error message.
The check gets the argument, and returns the value to use or raises `Wrong`. `Wrong` may have a more
exact text.
"""

from __future__ import annotations

import inspect
import math
import os
import reprlib
import threading
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from types import SimpleNamespace
from typing import Any, NamedTuple

__all__ = [
    "ArgumentError",
    "Rule",
    "Table",
    "Wrong",
    "checked",
    "existing_folder",
    "file_in_folder",
    "flag",
    "folder",
    "instance",
    "label",
    "longest_silence",
    "methods",
    "name",
    "number",
    "optional",
    "path",
    "refuse_unknown",
    "seconds",
    "shown",
    "size",
    "text",
]

#: The longest time (seconds) that Python can wait for, and the largest size of a file.
_LONGEST_WAIT = threading.TIMEOUT_MAX
_LARGEST = 2**63 - 1

#: An integer of at least this size, in place of a storage's name, is probably meant as a port.
_LOWEST_PORT = 1024

#: The units of sizes in configurations.
_UNITS = {"KB": 1024, "MB": 1024**2, "GB": 1024**3}


class ArgumentError(ValueError, TypeError):
    """An argument can never work. The message is one line, and says what to write instead.

    It is a ValueError, and also a TypeError, because callers expect that for a wrong type.
    """


class Wrong(Exception):
    """A check refuses a value.

    :ivar spelling: what to write instead; None for the text in the table.
    """

    def __init__(self, spelling: str | None = None) -> None:
        super().__init__(spelling)
        self.spelling = spelling


class Rule(NamedTuple):
    """The rule for one argument."""

    #: Returns the value to use; raises `Wrong`.
    check: Callable[[Any], Any]
    #: What to write; the text that follows the word "write" in a message.
    spelling: str


#: The rules of a function's arguments, by name. An argument without a rule may have any value.
Table = Mapping[str, Rule]


def checked(table: Table, given: Mapping[str, Any]) -> Any:
    """Return an object whose attributes are the checked arguments that are in `table`.

    :raises ArgumentError: an argument can never work.
    """
    values = {}
    for argument, rule in table.items():
        value = given[argument]
        try:
            values[argument] = rule.check(value)
        except Wrong as wrong:
            raise ArgumentError(
                f"{argument}: {shown(value)} cannot be used; "
                f"write {wrong.spelling or rule.spelling}"
            ) from None
    return SimpleNamespace(**values)


def refuse_unknown(function: Callable[..., Any], called: str, given: Iterable[str]) -> None:
    """Check that `function` has arguments with the names in `given`.

    :param called: the function's name in the message.
    :raises ArgumentError: it has no such argument. The message names a similar argument, or all.
    """
    known = [
        name
        for name in inspect.signature(function).parameters
        if not name.startswith(("_", "self"))
    ]
    for name in given:
        if name not in known and not name.startswith("_"):
            near = get_close_matches(name.lower().replace("-", "_"), known, 1)
            remedy = f"write {near[0]}" if near else f"it has {', '.join(known)}"
            raise ArgumentError(f"{called}() has no argument {name!r}; {remedy}")


def shown(value: Any) -> str:
    """Return a short repr of a value, without line breaks, for a message."""
    if isinstance(value, (str, bytes)) and len(value) <= 200:
        return repr(value)
    return " ".join(reprlib.repr(value).split())


# The checks.


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a check that accepts None, and otherwise applies `check`."""
    return lambda value: None if value is None else check(value)


def text(value: Any) -> str:
    """A str that can be encoded in UTF-8."""
    if isinstance(value, (bytes, bytearray)):
        raise Wrong(repr(bytes(value).decode("utf-8", "replace")))
    if not isinstance(value, str) or not _is_sendable(value):
        raise Wrong
    return value


def name(value: Any) -> str:
    """The name of a storage."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < _LOWEST_PORT:
            raise Wrong(repr(str(value)))
        raise Wrong(
            f"{str(value)!r} for the storage of that name; a host and a port are one argument, as "
            f"in ('127.0.0.1', {value})"
        )
    return text(value)


def label(value: Any) -> str | bytes:
    """A text for the server's log. ZEO's servers also accept bytes."""
    return value if isinstance(value, bytes) else text(value)


def flag(value: Any) -> bool:
    """A boolean. A string is refused, because bool("no") is True."""
    if isinstance(value, (str, bytes)):
        raise Wrong
    return bool(value)


def seconds(value: Any) -> float:
    """A length of time, in seconds."""
    if isinstance(value, str):
        raise Wrong(_number_in(value))
    if not 0 <= number(value) <= _LONGEST_WAIT:
        raise Wrong
    return float(value)


def longest_silence(value: Any) -> float:
    """A length of time, in seconds. None and 0 both mean no limit."""
    return seconds(value or 0) if value is None or value is False else seconds(value)


def size(value: Any) -> int:
    """A number of bytes."""
    if isinstance(value, str):
        raise Wrong(_size_in(value))
    if not 0 <= number(value) <= _LARGEST:
        raise Wrong
    return int(value)


def number(value: Any) -> Any:
    """Any finite number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise Wrong
    # math.isfinite raises OverflowError for very large integers.
    if not isinstance(value, int) and not math.isfinite(value):
        raise Wrong
    return value


def path(value: Any) -> str:
    """A path in the file system."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (bytes, bytearray)):
        raise Wrong(repr(os.fsdecode(bytes(value))))
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong
    return value


def folder(value: Any) -> str:
    """The path of a folder that exists or can be created later."""
    found = path(value)
    # The longest part of the path that exists has to be a folder.
    existing = os.path.abspath(found)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise Wrong(f"the path of a folder; {existing} is none")
    return found


def existing_folder(value: Any) -> str:
    """The path of a folder that exists."""
    found = path(value)
    if not os.path.isdir(found):
        raise Wrong(f"the path of a folder that exists, or create {found}")
    return found


def file_in_folder(value: Any) -> str:
    """The path of a file in a folder that exists. The file itself may be created later."""
    found = path(value)
    where = os.path.dirname(os.path.abspath(found))
    if not os.path.isdir(where):
        raise Wrong(f"a path in a folder that exists, or create {where}")
    if os.path.isdir(found):
        raise Wrong(f"the path of a file; {found} is a folder")
    return found


def instance(class_: type) -> Callable[[Any], Any]:
    """Return a check for the instances of a class."""

    def check(value: Any) -> Any:
        if not isinstance(value, class_):
            raise Wrong
        return value

    return check


def methods(*names: str) -> Callable[[Any], Any]:
    """Return a check for objects that have methods with these names; a class is refused."""

    def check(value: Any) -> Any:
        if isinstance(value, type) or not all(callable(getattr(value, n, None)) for n in names):
            raise Wrong
        return value

    return check


def _is_sendable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeError:
        return False
    return True


def _number_in(value: str) -> str | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return f"the number {number:g}" if 0 <= number <= _LONGEST_WAIT else None


def _size_in(value: str) -> str | None:
    word = value.strip().upper()
    unit = _UNITS.get(word[-2:], 1)
    digits = word[:-2].strip() if unit > 1 else word
    if not digits.isdecimal():
        return None
    factors = {1: "", 1024: " * 1024"}.get(unit, f" * 1024**{round(math.log(unit, 1024))}")
    return f"{int(digits)}{factors}"
