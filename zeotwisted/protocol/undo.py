"""Zope's search term for the undo log, the only class instance that stock clients send."""

from __future__ import annotations

from typing import Any

__all__ = ["Prefix"]


class Prefix:
    """Equal to every path that starts with this one.

    Zope puts ``ZopeUndo.Prefix.Prefix`` objects into the specification of ``undoInfo``; the storage
    compares them with the users of its transactions ("``/acl_users admin``").
    This class replaces ``ZopeUndo.Prefix.Prefix``, so that the server needs no Zope package.
    """

    def __init__(self, parts: list[str]) -> None:
        self.parts = parts

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Prefix:
        """Return the object that a client pickled with `state`.

        :raises ValueError: `state` is not that of a ``ZopeUndo.Prefix``.
        """
        parts = state.get("path")
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ValueError("a Prefix needs a list of strings as its path")
        return cls(parts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            other = other.decode("utf-8", "replace")
        if not isinstance(other, str):
            return NotImplemented
        parts = other.split("/")
        # The last part ends with a blank and the name of the user.
        before, blank, _name = parts[-1].rpartition(" ")
        if blank:
            parts[-1] = before
        return parts[: len(self.parts)] == self.parts

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Prefix {'/'.join(self.parts)!r}>"
