"""What a notification says of a commit, as the trigger that `setup` installs writes it.

It has the numbers ``previous tid mark``, in decimal and separated by spaces. `previous` is the
transaction before this one; without history it is empty, as nobody knows it there. `mark` is empty
if the transaction had none when it got its tid. A notification may also have no text at all: it
then says only that something was committed.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Notice", "parse_notice"]

_SIGNED = 1 << 63


class Notice(NamedTuple):
    """A commit, by its numbers of 8 bytes each; None where the notification does not say it.

    Whoever may connect to the database may send such a text. Only those who may read the table of
    marks know the mark of a transaction that is not committed yet.
    """

    previous: bytes | None = None
    tid: bytes | None = None
    mark: bytes | None = None


def parse_notice(payload: bytes) -> Notice | None:
    """Return what a notification says; None if it is not about a commit."""
    if not payload:
        return Notice()
    parts = payload.split(b" ")
    if len(parts) != 3:
        return None
    try:
        return Notice(*map(_id, parts))
    except (ValueError, OverflowError):
        return None


def _id(text: bytes) -> bytes | None:
    if not text:
        return None
    number = int(text)
    return number.to_bytes(8, "big", signed=-_SIGNED <= number < 0)
