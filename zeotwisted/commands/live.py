"""What ``zeotwisted status --live`` shows besides the counters: the clients and packs of storages.

Only a client of a storage is told of them, so there is one for each storage, which stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple

from ZODB.POSException import Unsupported

from zeotwisted.backup import readable
from zeotwisted.clientstorage import ClientStorage
from zeotwisted.exceptions import AccessDenied

from .connecting import connected, failures
from .errors import CommandError
from .shown import duration, pack_phase, printable
from .target import Target

__all__ = ["Seen", "Watcher", "cut", "lines"]

#: The columns of the table of clients, and how wide they may be. The last one has what is left of
#: the line.
_COLUMNS = (("NUMBER", 7), ("LABEL", 14), ("USER", 12), ("ADDRESS", 16), ("QUEUED", 9))
_LAST = "TRANSACTION"

#: The columns whose texts are at the right.
_RIGHT = {"NUMBER", "QUEUED"}

#: At the end of what is cut off.
_CUT = ".."


class Seen(NamedTuple):
    """What clients of a storage are told.

    :ivar clients: the answer to ``server_clients``; None if it is not for this client.
    :ivar pack: the answer to ``pack_progress``; None if there is none.
    :ivar problem: why something is not there; or empty.
    """

    clients: dict[str, Any] | None = None
    pack: dict[str, Any] | None = None
    problem: str = ""


class Watcher:
    """Looks at the storages of a server; use it in a ``with`` statement.

    A storage that cannot be looked at is not asked again.
    """

    def __init__(self, where: Target) -> None:
        self._where = where
        self._open = ExitStack()
        self._clients: dict[str, ClientStorage] = {}
        self._problems: dict[str, str] = {}

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def look(self, storage: str) -> Seen:
        """Ask for the clients and packs of a storage."""
        if storage in self._problems:
            return Seen(problem=self._problems[storage])
        try:
            with failures(self._where.text):
                return self._ask(self._client(storage))
        except CommandError as error:
            self._problems[storage] = str(error).removeprefix(f"{self._where.text}: ")
        return Seen(problem=self._problems[storage])

    def _client(self, storage: str) -> ClientStorage:
        if storage not in self._clients:
            where = dataclasses.replace(self._where, storage=storage)
            self._clients[storage] = self._open.enter_context(connected(where))
        return self._clients[storage]

    def _ask(self, client: ClientStorage) -> Seen:
        try:
            pack = client.steer("pack_progress")
        except Unsupported:
            raise CommandError("the server is one of ZEO's, or too old") from None
        try:
            return Seen(client.steer("server_clients"), pack)
        except AccessDenied as error:
            return Seen(None, pack, str(error))


def lines(seen: Seen, width: int, most: int) -> list[str]:
    """Return the lines that show it.

    :param width: how many columns there are.
    :param most: how many clients to show.
    """
    found = []
    if seen.pack is not None and seen.pack["running"]:
        found.append(cut(f"  pack: {pack_phase(seen.pack)}", width))
    if seen.clients is None:
        return [*found, cut(f"  clients are not shown: {printable(seen.problem)}", width)]
    shown = seen.clients["clients"][:most]
    found += _table([_row(each) for each in shown], width)
    more = seen.clients["total"] - len(shown)
    return [*found, f"  ... and {more} more"] if more > 0 else found


def _row(client: dict[str, Any]) -> list[str]:
    transaction = client["transaction"]
    return [
        str(client["number"]),
        client["label"] or "-",
        client["user"] or "-",
        client["address"],
        readable(client["queued"]),
        "-" if transaction is None else _transaction(transaction),
    ]


def _transaction(transaction: dict[str, Any]) -> str:
    # The first word is enough to tell the phases apart: "waiting for the commit lock".
    phase, _, _ = transaction["phase"].partition(" ")
    about = f"{transaction['user']} {transaction['description']}".strip()
    return (
        f"{phase} {duration(transaction['age'])}, {transaction['objects']} objects, "
        f"{readable(transaction['size'])} {about}"
    ).rstrip()


def _table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    heads = [name for name, _ in _COLUMNS]
    texts = [[*heads, _LAST], *([printable(each) for each in row] for row in rows)]
    widths = [
        min(most, max(len(line[at]) for line in texts)) for at, (_, most) in enumerate(_COLUMNS)
    ]
    return [cut("  ".join(_cells(line, widths)).rstrip(), width) for line in texts]


def _cells(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    *texts, last = line
    cells = [cut(text, width) for text, width in zip(texts, widths, strict=True)]
    return [
        *(
            text.rjust(width) if name in _RIGHT else text.ljust(width)
            for text, width, (name, _) in zip(cells, widths, _COLUMNS, strict=True)
        ),
        last,
    ]


def cut(text: str, width: int) -> str:
    """Return a line that is not longer than `width`."""
    return text if len(text) <= width else text[: max(0, width - len(_CUT))] + _CUT
