"""Says whose disk is full. A client would look for room on the disk of its own machine."""

from __future__ import annotations

from zeotwisted.files import is_full

__all__ = ["told"]


def told(error: Exception) -> Exception:
    """Return what a client is told: for a full disk of this machine, an error that says so.

    It has the class and the errno of the original, by which clients know it.
    """
    # Not a class that is derived from it: that of another server's error has its text already.
    if type(error) is not OSError or not is_full(error):
        return error
    text = f"{error.strerror}, on the server's disk; make room there"
    # The arguments have the names of files, if there are any.
    arguments: tuple[object, ...] = error.__reduce__()[1]  # type: ignore[assignment]
    return OSError(error.errno, text, *arguments[2:])
