"""What one client is likely to ask for next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ZODB.utils import maxtid

from zeotwisted.protocol import Ahead

from .common import Common, successor_kind
from .guess import Guess, Wish
from .rates import Rates
from .references import references
from .sent import Sent
from .trail import Node, Trail

__all__ = ["Guesses"]

#: For how many threads of a client the last object is remembered.
_THREADS = 32

#: How many records that the client has used are looked at again, because it was forgotten what they
#: refer to.
_UNKNOWN = 50

#: If the client has asked again for so many of the records that it was sent, it does not keep them.
_DROPPED = 16

#: What is sent if there is little time: what is more probable than this.
_LIKELY = 0.5

#: Records are compressed. At most this many times as many bytes as a client wants are packed.
_EXPANSION = 16.0


class Guesses:
    """Follows one client, and guesses what it is going to ask for.

    :param common: what it shares with the other clients.
    :param bring: called with the oids of what the next answer could bring if it were found at once.
    """

    def __init__(self, common: Common, bring: Callable[[Sequence[bytes]], object]) -> None:
        self._common = common
        self._bring = bring
        self._rates = Rates(common.rates)
        self._trail = Trail(self._rates)
        self._sent = Sent()
        self._dropped = 0
        # How much shorter (a factor) records become when they are packed.
        self._shrinking = 2.0
        # The last object that each thread has used.
        self._last: dict[int, bytes] = {}

    def used(self, oids: bytes, thread: int, until: float) -> None:
        """Note that a thread has used records that were sent before, or that it has loaded alone.

        :param oids: joined, in the order of the use.
        :param until: when to look at no more of them, by the clock of the allowance; see `wanted`.
        """
        seconds = self._common.allowance.seconds
        unknown = 0
        for start in range(0, len(oids), 8):
            oid = oids[start : start + 8]
            if not self._trail.used(oid):
                self._sent.add(oid, self._common.changes.now)
                if unknown < _UNKNOWN and seconds() < until:
                    unknown += 1
                    self._look_again(oid)
            self._after(oid, thread)

    def _look_again(self, oid: bytes) -> None:
        found = self._trail.found(oid)
        revision = self._common.find(oid, maxtid)
        if revision is not None:
            self._trail.remember(Node(references(revision[0]), found.parent, found.place))

    def _after(self, oid: bytes, thread: int) -> None:
        last = self._last.get(thread)
        if last is None and len(self._last) >= _THREADS:
            self._last.clear()
        self._last[thread] = oid
        if last is None or last == oid:
            return
        known = self._common.successors.after(last)
        if known is not None:
            kind = successor_kind(known[1])
            self._rates.chance(kind)
            if known[0] == oid:
                self._rates.came_true(kind)
        self._common.successors.note(last, oid)

    def wanted(
        self, oid: bytes, tid: bytes, revision: object, thread: int, wish: Wish, until: float
    ) -> list[Ahead]:
        """Note that a thread asks for a record; return what to send with it.

        Send it before any other message to the client.

        :param revision: of the record, as `find` returns it, or an earlier one.
        :param until: when to stop, by the clock of the allowance. When there is no time left, it is
            not found out what the record refers to.
        """
        found = self._trail.found(oid)
        self._after(oid, thread)
        if type(revision) is not tuple:
            return []
        data, _, end = revision
        if end is None:
            self._note_sent(oid)
        common = self._common
        if common.allowance.seconds() >= until:
            return []
        node = Node(references(data), found.parent, found.place)
        ahead: list[Ahead] = []
        if wish.records and wish.size:
            if common.allowance.is_scarce:
                # What is used saves the server more time than it takes.
                wish = wish._replace(least=max(wish.least, _LIKELY))
            guess = Guess(
                common, self._rates, self._trail, self._sent, tid, wish, self._shrinking, until
            )
            ahead = guess.make(oid, node)
            if guess.lacking:
                self._bring(guess.lacking)
        # Not before: what it refers to has had no chance yet.
        self._trail.remember(node)
        return ahead

    def has(self, oids: bytes) -> None:
        """Note that the client is sent current revisions that are no guesses: joined oids."""
        for start in range(0, len(oids), 8):
            self._sent.add(oids[start : start + 8], self._common.changes.now)

    def _note_sent(self, oid: bytes) -> None:
        changes = self._common.changes
        if self._sent.has(oid, changes):
            self._dropped += 1
            if self._dropped >= _DROPPED:
                self._dropped = 0
                self._sent.clear()
        self._sent.add(oid, changes.now)

    def packed(self, before: int, after: int) -> None:
        """Note how long (bytes) records were before they were packed, and after it."""
        self._shrinking += 0.3 * (min(before / after, _EXPANSION) - self._shrinking)
