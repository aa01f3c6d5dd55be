"""What one client is likely to ask for next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from zeotwisted.protocol import Ahead

from .allowance import Allowance
from .rates import Rates
from .references import references
from .sent import Sent
from .successors import Successors
from .trail import Node, Trail

__all__ = ["Find", "Guesses", "Wish"]

#: Returns the current revision of an object if it is before a tid: the data, the serial, None. None
#: if there is none, or if it takes too long to find out.
Find: TypeAlias = "Callable[[bytes, bytes], tuple[bytes, bytes, None] | None]"

#: What is more probable than this is sent first.
_PROBABLE = 0.5

#: For how many threads of a client the last object is remembered.
_THREADS = 32

#: How many successors are looked at, also of what the client has.
_FARTHEST = 400

#: How many records within records are followed.
_DEEPEST = 64

#: If the client has asked again for so many of the records that it was sent, it does not keep them.
_DROPPED = 16

#: How much longer (bytes) records are than what is sent, at most, as they are compressed.
_EXPANSION = 16


class Wish:
    """How much an answer may bring.

    :param records: how many records, at most.
    :param size: how many bytes, at most, when they are packed.
    :param least: how probable the use of each has to be, from 0 to 1.
    """

    __slots__ = ("least", "records", "size")

    def __init__(self, records: int, size: int, least: float) -> None:
        self.records = records
        self.size = size
        self.least = least


class Guesses:
    """Follows one client, and guesses what it is going to ask for.

    :param find: finds a record.
    :param shared: what was learned from all clients.
    :param successors: what clients used after what.
    :param allowance: the time for it.
    """

    def __init__(
        self, find: Find, shared: Rates, successors: Successors, allowance: Allowance
    ) -> None:
        self._find = find
        self._successors = successors
        self._allowance = allowance
        self._rates = Rates(shared)
        self._trail = Trail(self._rates)
        self._sent = Sent()
        self._dropped = 0
        # How much shorter (a factor) records become when they are packed.
        self._shrinking = 2.0
        # The last object that each thread has used.
        self._last: dict[int, bytes] = {}

    # What the client does.

    def used(self, oids: bytes, thread: int) -> None:
        """Note that a thread has used records that it had not asked for, in this order."""
        for start in range(0, len(oids), 8):
            oid = oids[start : start + 8]
            self._trail.used(oid)
            self._after(oid, thread)

    def _after(self, oid: bytes, thread: int) -> None:
        last = self._last.get(thread)
        if last is None and len(self._last) >= _THREADS:
            self._last.clear()
        self._last[thread] = oid
        if last is None or last == oid:
            return
        known = self._successors.after(last)
        if known is not None:
            kind = _successor(known[1])
            self._rates.chance(kind)
            if known[0] == oid:
                self._rates.came_true(kind)
        self._successors.note(last, oid)

    def wanted(
        self, oid: bytes, tid: bytes, revision: object, thread: int, wish: Wish
    ) -> list[Ahead]:
        """Note that a thread asks for a record; return what to send with it.

        Send it before any other message to the client.

        :param revision: of the record; None if it has none.
        """
        found = self._trail.wanted(oid)
        self._after(oid, thread)
        if type(revision) is not tuple:
            return []
        data, serial, end = revision
        if end is None:
            self._note_sent(oid, serial)
        node = Node(references(data), found.parent, found.place)
        ahead: list[Ahead] = []
        if wish.records and wish.size:
            until = self._allowance.begin()
            if until:
                guess = _Guess(self, tid, wish, int(wish.size * self._shrinking), until)
                guess.make(oid, node)
                ahead = guess.ahead
                self._allowance.end()
        # Not before: what it refers to has had no chance yet.
        self._trail.remember(node)
        return ahead

    def _note_sent(self, oid: bytes, serial: bytes) -> None:
        if (oid, serial) in self._sent:
            self._dropped += 1
            if self._dropped >= _DROPPED:
                self._dropped = 0
                self._sent.clear()
        self._sent.add(oid, serial)

    def packed(self, before: int, after: int) -> None:
        """Note how long (bytes) records were before they were packed, and after it."""
        shrinking = min(before / after, _EXPANSION)
        self._shrinking += 0.3 * (shrinking - self._shrinking)


class _Guess:
    """The records for one answer."""

    def __init__(self, guesses: Guesses, tid: bytes, wish: Wish, room: int, until: float) -> None:
        self.ahead: list[Ahead] = []
        self._guesses = guesses
        self._trail = guesses._trail
        self._tid = tid
        self._least = wish.least
        self._records = wish.records
        self._room = room
        self._until = until

    def make(self, oid: bytes, node: Node) -> None:
        """Guess what comes after a record that is not remembered yet."""
        for least in dict.fromkeys((max(_PROBABLE, self._least), self._least)):
            if not self._follow_successors(oid, least):
                return
            if not self._descend(node, -1, least):
                return
            around = node
            for _ in range(_DEEPEST):
                if around.parent is None:
                    break
                if not self._descend(around.parent, around.place, least):
                    return
                around = around.parent

    def _follow_successors(self, oid: bytes, least: float) -> bool:
        guesses = self._guesses
        rates: dict[int, float] = {}
        probability = 1.0
        for _ in range(_FARTHEST):
            known = guesses._successors.after(oid)
            if known is None:
                break
            oid, count = known
            if count not in rates:
                rates[count] = guesses._rates.rate(_successor(count))
            probability *= rates[count]
            if probability < least:
                break
            if not self._take(oid, None, 0):
                return False
        return True

    def _descend(self, node: Node, place: int, least: float) -> bool:
        """Take what a record refers to behind a place, and what that refers to, and so on.

        :return: whether there is room for more.
        """
        trail = self._trail
        stack = [(node, trail.probable(node, place, 1.0, least))]
        while stack:
            node, places = stack.pop()
            for here, probability in places:
                assert node.references is not None
                oid = node.references.oids[here]
                if not self._take(oid, node, here):
                    return False
                child = trail.unused(oid)
                if child is not None and child.references is not None and len(stack) < _DEEPEST:
                    stack.append((node, places))
                    stack.append((child, trail.probable(child, -1, probability, least)))
                    break
        return True

    def _take(self, oid: bytes, parent: Node | None, place: int) -> bool:
        """Take a record if it is not at the client; return whether there is room for more."""
        if self._trail.unused(oid) is not None:
            return True
        guesses = self._guesses
        if guesses._allowance.seconds() > self._until:
            return False
        revision = guesses._find(oid, self._tid)
        if revision is None:
            return True
        data, serial, _ = revision
        if (oid, serial) in guesses._sent:
            return True
        self._room -= len(data)
        if self._room < 0:
            return False
        guesses._sent.add(oid, serial)
        self._trail.guessed(oid, Node(references(data), parent, place))
        self.ahead.append((oid, serial, data))
        self._records -= 1
        return self._records > 0


def _successor(count: int) -> tuple[str, int]:
    return "successor", count
