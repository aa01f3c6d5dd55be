"""The records for one answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from zeotwisted.protocol import Ahead

from .common import Common, successor_rate
from .rates import Rates
from .references import references
from .sent import Sent
from .trail import Node, Trail

__all__ = ["Guess", "Wish"]

#: What is at least so probable is sent first, in the order in which it was found. Then what is at
#: least so many times as probable, and so on.
_PROBABLE = 0.5
_STEP = 0.3

#: How many records are looked at around the one in which the wanted one was found, and how much
#: less probable each of them makes what it refers to.
_OUTWARD = 16
_FARTHER = 0.8

#: After so many records in a row that the client has, no more are looked for.
_FRUITLESS = 30


#: What a record has beyond so many bytes may be data that cannot be compressed, such as a picture.
_SHORT = 512


class Wish(NamedTuple):
    """How much an answer may bring."""

    #: How many records, at most.
    records: int
    #: How many bytes, at most, when they are packed.
    size: int
    #: How probable the use of each has to be, from 0 to 1.
    least: float


class _Rest(NamedTuple):
    """References of a record that are about as probable: places and probabilities, last first."""

    node: Node
    places: list[tuple[int, float]]


class _Successor(NamedTuple):
    """An object whose successor is wanted, and how probable it is that it is used."""

    oid: bytes
    probability: float


class Guess:
    """Collects the records that one answer brings.

    :param common: what the clients share.
    :param rates, trail, sent: of this client.
    :param tid: what the client wants has to be older.
    :param shrinking: how much shorter (a factor) records become when they are packed.
    :param until: when to stop, by the clock of the allowance.
    :ivar lacking: the oids of records that would have been sent if they had been found at once.
    """

    def __init__(
        self,
        common: Common,
        rates: Rates,
        trail: Trail,
        sent: Sent,
        tid: bytes,
        wish: Wish,
        shrinking: float,
        until: float,
    ) -> None:
        self._common = common
        self._rates = rates
        self._trail = trail
        self._sent = sent
        self._tid = tid
        self._wish = wish
        self._room: float = wish.size
        self._shrinking = shrinking
        self._until = until
        self.lacking: list[bytes] = []
        self._ahead: list[Ahead] = []
        self._fruitless = 0
        self._successor_rates: dict[int, float] = {}
        self._reference_rates: dict[Hashable, float] = {}
        self._thresholds = [max(_PROBABLE, wish.least)]
        while self._thresholds[-1] > wish.least:
            self._thresholds.append(max(self._thresholds[-1] * _STEP, wish.least))
        # What is still to be looked at, for each threshold. The next one is last.
        self._stacks: list[list[_Rest | _Successor]] = [[] for _ in self._thresholds]

    def make(self, oid: bytes, node: Node) -> list[Ahead]:
        """Return what comes probably after a record that is not remembered yet."""
        around = []
        outer = node
        for _ in range(_OUTWARD):
            if outer.parent is None:
                break
            around.append((outer.parent, outer.place))
            outer = outer.parent
        seconds = self._common.allowance.seconds
        for distance in range(len(around) - 1, 0, -1):
            if seconds() > self._until:
                return []
            parent, place = around[distance]
            self._look_at(parent, parent.behind(place), _FARTHER**distance)
        if around:
            parent, place = around[0]
            self._look_at(parent, parent.around(place), 1.0)
        self._look_at(node, node.behind(-1), 1.0)
        self._look_behind(oid, 1.0)
        while self._go_on():
            pass
        return self._ahead

    def _go_on(self) -> bool:
        """Look at one more record; return whether there is room for more."""
        for stack in self._stacks:
            if stack:
                break
        else:
            return False
        next = stack.pop()
        if isinstance(next, _Successor):
            if not self._take(next.oid, None, 0):
                return False
            self._look_behind(next.oid, next.probability)
            return True
        node, places = next
        place, probability = places.pop()
        if places:
            stack.append(next)
        assert node.references is not None
        oid = node.references.oid(place)
        if not self._take(oid, node, place):
            return False
        child = self._trail.unused(oid)
        if child is not None and child.references is not None:
            self._look_at(child, child.behind(-1), probability)
        elif oid not in self.lacking[-1:]:
            # There is nothing more to be found there.
            node.done |= 1 << place
        return True

    def _look_at(self, node: Node, places: Sequence[int], probability: float) -> None:
        """Put what a record refers to on the stacks.

        :param places: those of the references, in the order in which they may be followed.
        :param probability: how probable the use of the record is.
        """
        found: list[list[tuple[int, float]]] = [[] for _ in self._stacks]
        least, rates = self._wish.least, self._reference_rates
        most = self._wish.records + _FRUITLESS
        for place, each in self._trail.probable(node, places, probability, least, rates, most):
            found[self._level(each)].append((place, each))
        for rest, stack in zip(found, self._stacks, strict=True):
            if rest:
                rest.reverse()
                stack.append(_Rest(node, rest))

    def _look_behind(self, oid: bytes, probability: float) -> None:
        """Put what was used after an object on the stacks."""
        known = self._common.successors.after(oid)
        if known is None:
            return
        successor, count = known
        rate = self._successor_rates.get(count)
        if rate is None:
            rate = self._successor_rates[count] = successor_rate(self._rates, count)
        probability *= rate
        if probability >= self._wish.least:
            self._stacks[self._level(probability)].append(_Successor(successor, probability))

    def _level(self, probability: float) -> int:
        level = 0
        while probability < self._thresholds[level]:
            level += 1
        return level

    def _take(self, oid: bytes, parent: Node | None, place: int) -> bool:
        """Take a record if it is not at the client; return whether there is room for more."""
        common = self._common
        self._fruitless += 1
        if self._sent.has(oid, common.changes):
            return self._fruitless < _FRUITLESS
        if common.allowance.seconds() > self._until:
            return False
        revision = common.find(oid, self._tid)
        if revision is None:
            self.lacking.append(oid)
            return self._fruitless < _FRUITLESS
        data, serial, _ = revision
        # Only short records are sure to shrink.
        size = min(len(data), _SHORT) / self._shrinking + max(len(data) - _SHORT, 0)
        if size > self._room:
            return False
        self._room -= size
        self._fruitless = 0
        self._sent.add(oid, common.changes.now)
        self._trail.guessed(oid, Node(references(data), parent, place))
        self._ahead.append((oid, serial, data))
        return len(self._ahead) < self._wish.records
