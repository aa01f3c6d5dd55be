"""What the clients of a storage share, and their guesses."""

from __future__ import annotations

from zeotwisted.protocol import pack_ahead

from .allowance import Allowance
from .guesses import Find, Guesses, Wish
from .rates import Rates
from .successors import Successors

__all__ = ["Speculation"]


class Speculation:
    """Guesses what the clients of one storage ask for next. Use it in the reactor's thread.

    :param find: finds a record; see `guesses.Find`.
    :ivar records: how many records were sent that nobody had asked for.
    :ivar used: how many of them were used.
    """

    def __init__(self, find: Find) -> None:
        self.records = self.used = 0
        self._find = find
        self._rates = Rates()
        self._successors = Successors()
        self._allowance = Allowance()
        self._clients: dict[object, Guesses] = {}

    def ahead(
        self,
        client: object,
        oid: bytes,
        tid: bytes,
        revision: object,
        records: int,
        size: int,
        least: float,
        used: bytes,
        thread: int,
    ) -> bytes:
        """Return the packed records to send with the answer to a load, before anything else.

        :param revision: the answer.
        :param records, size, least: see `guesses.Wish`.
        :param used: the joined oids of those that the client has used, of earlier answers.
        :param thread: the number of the client's thread.
        """
        guesses = self._clients.get(client)
        if guesses is None:
            guesses = self._clients[client] = Guesses(
                self._find, self._rates, self._successors, self._allowance
            )
        guesses.used(used, thread)
        self.used += len(used) // 8
        ahead = guesses.wanted(oid, tid, revision, thread, Wish(records, size, least))
        if not ahead:
            return b""
        self.records += len(ahead)
        packed = pack_ahead(ahead)
        guesses.packed(sum(len(data) for _, _, data in ahead), len(packed))
        return packed

    def leave(self, client: object) -> None:
        """Forget a client that is gone."""
        self._clients.pop(client, None)
