"""Parses the descriptions of sockets that systemd opens, and passes to the daemon."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .rules import ArgumentError

__all__ = ["PassedSocket", "parse_passed_socket"]

_SCHEME = "systemd:"

#: A host of that name, with a port.
_HOST = re.compile(r"systemd:\d+")

#: The parameters of a description.
_PARAMETERS = ("domain", "index", "name")


@dataclass(frozen=True)
class PassedSocket:
    """A socket that systemd passes.

    :ivar description: the text that describes it.
    :ivar index: which one it is, from 0; None for the only one, or the one of a name.
    :ivar name: its name in the .socket unit, or None.
    :ivar domain: its family, such as ``INET``, or None if that is not told.
    """

    description: str
    index: int | None = None
    name: str | None = None
    domain: str | None = None


def parse_passed_socket(text: str) -> PassedSocket | None:
    """Return the socket that a text such as ``systemd:index=0`` or ``systemd:name=zeo`` means.

    With neither index nor name it is the only socket that systemd passes. A domain, as in
    ``domain=INET``, need not be given. None if the text is about something else.

    :raises ArgumentError: the text has a mistake.
    """
    if not text.startswith(_SCHEME) or _HOST.fullmatch(text):
        return None
    parts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", text)]
    given = dict(part.partition("=")[::2] for part in parts[1:] if part)
    unknown = [name for name in given if name not in _PARAMETERS]
    if unknown:
        raise ArgumentError(f"there is no parameter {unknown[0]}; write systemd:index=0")
    index, name = given.get("index"), given.get("name")
    if index is not None and name is not None:
        raise ArgumentError("it has both; write either index or name")
    if index is not None and not (index.isascii() and index.isdigit()):
        raise ArgumentError(f"the index {index!r} is no number; write systemd:index=0")
    return PassedSocket(text, None if index is None else int(index), name, given.get("domain"))
