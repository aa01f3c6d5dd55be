"""The way of one client through the database: what it has used, and which references it follows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from zeotwisted.protocol import split

from .rates import Rates
from .references import FEW, Kind, References

__all__ = ["Node", "Trail"]

#: How many of the records that were used last are remembered, and how many of their references; how
#: many records that were sent and not used yet, and how many references of these.
_RECENT = 1024
_UNUSED = 512
_UNUSED_REFERENCES = 4096

#: How many references may be skipped between two that are followed in order.
_GAP = 2

#: How probable the use of something is of which nothing is known.
_UNKNOWN = 0.5

#: A run is not counted any further.
_LONG_RUN = 3


class Node:
    """A record, where it was found, and how its references were followed.

    :ivar references: what it refers to; None if it refers to nothing.
    :ivar done: the places, as bits, of references to records that the client has.
    :ivar parent: the record in which it was found, if that is known, and where in it.
    """

    __slots__ = ("back", "done", "last", "parent", "place", "references", "run")

    def __init__(self, references: References | None, parent: Node | None, place: int) -> None:
        self.references = references
        self.done = 0
        self.parent = parent
        self.place = place
        # The last one of many references of a kind that was followed, how many were followed in
        # order up to it, and whether that was from the last one to the first.
        self.last = -1
        self.run = 0
        self.back = False

    @property
    def count(self) -> int:
        """How many references it has."""
        return 0 if self.references is None else len(self.references.kinds)

    def around(self, place: int) -> Sequence[int]:
        """Return the places in the order in which they may be followed after this one."""
        behind, before = self.behind(place), range(place - 1, -1, -1)
        return (*before, *behind) if self.back else (*behind, *reversed(before))

    def behind(self, place: int) -> Sequence[int]:
        """Return the places behind this one."""
        return range(place + 1, self.count)


class Found(NamedTuple):
    """Where a record was found: a record that refers to it, and the place there."""

    parent: Node | None
    place: int


_NOWHERE = Found(None, 0)


class Trail:
    """What one client has used, and what it was sent and may still use.

    :ivar rates: what is learned from it.
    """

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        # Those with references. The ones that were used last, or followed, are last.
        self._recent: OrderedDict[Node, None] = OrderedDict()
        # The last one of them that refers to an object.
        self._referring: dict[bytes, Node] = {}
        self._unused: OrderedDict[bytes, Node] = OrderedDict()
        self._unused_references = 0

    def guessed(self, oid: bytes, node: Node) -> None:
        """Note that the client is sent a record that it has not asked for."""
        self._no_longer_unused(oid)
        self._unused[oid] = node
        self._unused_references += node.count
        while len(self._unused) > _UNUSED or self._unused_references > _UNUSED_REFERENCES:
            self._unused_references -= self._unused.popitem(last=False)[1].count

    def unused(self, oid: bytes) -> Node | None:
        """Return the record that the client was sent and has not used; None if there is none."""
        return self._unused.get(oid)

    def used(self, oid: bytes) -> bool:
        """Note that the client has used a record that it was sent.

        :return: whether it is known what was sent. If not, call `found` and `remember`.
        """
        node = self._no_longer_unused(oid)
        if node is None:
            return False
        self._follow(node.parent, node.place)
        self.remember(node)
        return True

    def found(self, oid: bytes) -> Found:
        """Note that the client uses a record; return where it has found it."""
        node = self._no_longer_unused(oid)
        found = self._find(oid) if node is None else Found(node.parent, node.place)
        self._follow(*found)
        return found

    def _no_longer_unused(self, oid: bytes) -> Node | None:
        node = self._unused.pop(oid, None)
        if node is not None:
            self._unused_references -= node.count
        return node

    def _find(self, oid: bytes) -> Found:
        node = self._referring.get(oid)
        if node is None or node.references is None:
            return _NOWHERE
        return Found(node, node.references.place(oid))

    def remember(self, node: Node) -> None:
        """Note that the client has a record in use, and may follow its references."""
        references = node.references
        if references is None:
            return
        for kind in references.distinct:
            self.rates.chance(kind)
        self._recent[node] = None
        self._referring.update(dict.fromkeys(split(references.oids), node))
        # Many records may refer to the same few objects.
        while max(len(self._referring), len(self._recent)) > _RECENT and len(self._recent) > 1:
            self._forget(self._recent.popitem(last=False)[0])

    def _forget(self, node: Node) -> None:
        assert node.references is not None
        for oid in split(node.references.oids):
            if self._referring.get(oid) is node:
                del self._referring[oid]
        # Those that were found in it keep it in memory, but not what it has.
        node.parent = node.references = None

    def _follow(self, node: Node | None, place: int) -> None:
        """Note that a reference is followed."""
        if node is None or node.references is None:
            return
        if node in self._recent:
            self._recent.move_to_end(node)
        kinds = node.references.kinds
        kind = kinds[place]
        if kind[2] < FEW:
            self.rates.came_true(kind)
            return
        self.rates.came_true(kind, 1 / kinds.count(kind))
        step = place - node.last
        if node.run and 0 < abs(step) <= 1 + _GAP and (node.run == 1 or node.back == (step < 0)):
            self.rates.came_true(_going_on(kind, node.run))
            node.run = min(node.run + 1, _LONG_RUN)
            node.back = step < 0
        else:
            node.run = 1
            node.back = False
        self.rates.chance(_going_on(kind, node.run))
        node.last = place

    def probable(
        self,
        node: Node,
        places: Sequence[int],
        probability: float,
        least: float,
        rates: dict[Hashable, float],
        most: int,
    ) -> list[tuple[int, float]]:
        """Return the places of the references that are followed with a probability of `least`.

        :param places: those to look at, in this order.
        :param probability: how probable it is that the record is used.
        :param rates: the rates that were looked up before.
        :param most: how many to return at most.
        :return: the places, each with its probability.
        """
        references = node.references
        if references is None or node.done.bit_count() == len(references.kinds):
            return []
        for kind in references.distinct:
            if kind not in rates:
                # Of many references to a class, some are tried first.
                unknown = _UNKNOWN if kind[2] < FEW else min(_UNKNOWN, FEW / len(references.kinds))
                rates[kind] = self.rates.rate(kind, unknown)
        going_on = step = 0.0
        running: Kind | None = None
        if node.run:
            # The references behind the last one are followed as long as the run goes on.
            running = references.kinds[node.last]
            going_on = probability * self.rates.rate(_going_on(running, node.run))
            step = self.rates.rate(_going_on(running, _LONG_RUN))
        if (
            going_on < least
            and probability * max(map(rates.__getitem__, references.distinct)) < least
        ):
            return []
        found = []
        kinds, done = references.kinds, node.done
        for place in places:
            kind = kinds[place]
            rate = probability * rates[kind]
            if going_on >= least and (place < node.last) == node.back and kind is running:
                rate = max(rate, going_on)
                going_on *= step
            if rate >= least and not done >> place & 1:
                found.append((place, rate))
                if len(found) >= most:
                    break
        return found


def _going_on(kind: Kind, run: int) -> tuple[Kind, int]:
    return kind, run
