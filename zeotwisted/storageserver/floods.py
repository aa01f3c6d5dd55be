"""Limits the log lines that one host causes.

In each minute the first few lines of a kind are written. One more line then counts the others.
Lines are counted by host, because a hostile client could use a new label or port for each line.
"""

from __future__ import annotations

from enum import Enum

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Floods", "Kind", "brief"]

#: The time in seconds after which all counts start at zero again.
_WINDOW = 60.0

#: The limit of all hosts together, as a multiple of the limit of one host. It also limits how many
#: hosts are kept in memory.
_HOSTS = 20


#: How many characters of a text from a client are written to the log.
_LONGEST = 500


def brief(thing: object) -> str:
    """Return the text of an error or a reason for the log, as one short line.

    A client may choose parts of the text. It must neither fill the log nor forge log lines.
    """
    text = str(thing)
    start = "".join(char if char.isprintable() else " " for char in text[:_LONGEST])
    return start if len(text) <= _LONGEST else f"{start}..."


class Kind(Enum):
    """The kinds of lines that clients cause.

    A value is the text for the line that counts them, and the limit for one host in a window.
    """

    PROBE = ("connections that ended before they registered for a storage", 5)
    REFUSED = ("calls that were refused", 10)
    ACCOUNTS = ("attempts to log in while the file of accounts had a mistake", 1)
    LOGIN = ("attempts to log in that failed", 5)
    DROPPED = ("clients that were disconnected", 20)
    CAME_OR_WENT = ("clients with labels that came or went", 100)
    RELABELLED = ("labels that were changed", 5)
    CALL = ("calls that failed", 10)
    COMMIT = ("commits that failed", 10)
    PACK = ("packs", 10)
    NO_ROOM = ("connections that were refused", 5)
    LIMIT = ("limits that were reached", 5)
    LOCK = ("waits for the commit lock", 20)

    def __init__(self, things: str, limit: int) -> None:
        self.things = things
        self.limit = limit


class Floods:
    """Decides which lines to write. Use it only in the reactor's thread.

    A delayed call is pending only while there are lines that were left out; `close` cancels it.

    :param clock: the reactor.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._end = 0.0
        self._written: dict[tuple[Kind, str, str], int] = {}
        self._in_all: dict[Kind, int] = {}
        self._left_out: dict[Kind, int] = {}
        #: The host of the first line of a kind that was left out.
        self._first: dict[Kind, str] = {}
        self._timer: IDelayedCall | None = None

    def admit(self, kind: Kind, host: str, detail: str = "") -> bool:
        """Return whether to write a line of this kind that `host` has caused; if not, count it.

        :param detail: a part of the kind with its own limit, such as the name of a call. It must be
            one of few values.
        """
        now = self._clock.seconds()
        if now >= self._end:
            self._begin(now)
        written = self._written.get((kind, host, detail), 0)
        in_all = self._in_all.get(kind, 0)
        if written < kind.limit and in_all < kind.limit * _HOSTS:
            self._written[kind, host, detail] = written + 1
            self._in_all[kind] = in_all + 1
            return True
        self._left_out[kind] = self._left_out.get(kind, 0) + 1
        self._first.setdefault(kind, host)
        if self._timer is None:
            self._timer = self._clock.callLater(self._end - now, self._over)
        return False

    def close(self) -> None:
        """Log the counts, and cancel the delayed call. `admit` may still be called."""
        if self._timer is not None:
            self._timer.cancel()
            self._over()

    def _begin(self, now: float) -> None:
        if self._timer is not None:
            # The reactor is late: it has not made the delayed call of the last window yet.
            self._timer.cancel()
            self._over()
        self._end = now + _WINDOW
        self._written.clear()
        self._in_all.clear()

    def _over(self) -> None:
        self._timer = None
        left_out, self._left_out = self._left_out, {}
        first, self._first = self._first, {}
        for kind, number in left_out.items():
            self._log.warn(
                "{number} more log lines about {things} were left out in the last minute; "
                "the first was about {host}",
                number=number,
                things=kind.things,
                host=first[kind],
            )
