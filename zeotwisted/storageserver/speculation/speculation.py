"""What the clients of a storage share, and their guesses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial

from zeotwisted.protocol import pack_ahead

from .allowance import Allowance
from .changes import Changes
from .common import Common, Find
from .guess import Wish
from .guesses import Guesses
from .rates import Rates
from .successors import Successors

__all__ = ["MOST_CLIENTS", "Speculation"]

#: How many clients are followed, up to 1 MiB for each. Of more, the one that has been idle for the
#: longest time is forgotten. When it goes on, it begins with what was learned from all of them.
MOST_CLIENTS = 200


class Speculation:
    """Guesses what the clients of one storage ask for next. Use it in the reactor's thread.

    :param find: finds a record; see `common.Find`.
    :param allowance: the time for it; by default a half of the reactor's.
    :param bring: called with a client and the oids of what `find` has not found for it. The storage
        may load them meanwhile, so that the next answer can bring them.
    :ivar records: how many records were sent that nobody had asked for.
    :ivar used: how many of them were used.
    """

    def __init__(
        self,
        find: Find,
        allowance: Allowance | None = None,
        bring: Callable[[object, Sequence[bytes]], object] = lambda client, oids: None,
    ) -> None:
        self.records = self.used = 0
        self._bring = bring
        self._common = Common(find, Rates(), Successors(), allowance or Allowance(), Changes())
        self._clients: OrderedDict[object, Guesses] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are followed."""
        return len(self._clients)

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
        :param records, size, least: see `guess.Wish`.
        :param used: the joined oids of those that the client has used, of earlier answers.
        :param thread: the number of the client's thread.
        """
        guesses = self._clients.get(client)
        if guesses is None:
            guesses = self._follow(client)
        else:
            self._clients.move_to_end(client)
        self.used += len(used) // 8
        allowance = self._common.allowance
        until = allowance.begin()
        try:
            guesses.used(used, thread, until)
            ahead = guesses.wanted(oid, tid, revision, thread, Wish(records, size, least), until)
            if not ahead:
                return b""
            self.records += len(ahead)
            packed = pack_ahead(ahead)
            guesses.packed(sum(len(data) for _, _, data in ahead), len(packed))
            return packed
        finally:
            allowance.end()

    def sent(self, client: object, oids: bytes) -> None:
        """Note that a client is sent current revisions in another way: joined oids."""
        guesses = self._clients.get(client)
        if guesses is None:
            guesses = self._follow(client)
        guesses.has(oids)

    def _follow(self, client: object) -> Guesses:
        guesses = self._clients[client] = Guesses(self._common, partial(self._bring, client))
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return guesses

    def changed(self, oids: Collection[bytes]) -> None:
        """Note that a transaction has been published: what clients have is not current any more."""
        if self._clients:
            self._common.changes.note(oids)

    def leave(self, client: object) -> None:
        """Forget a client that is gone."""
        self._clients.pop(client, None)
