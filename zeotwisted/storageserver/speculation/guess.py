"""The records for one answer."""

from __future__ import annotations

from typing import NamedTuple

from zeotwisted.protocol import Ahead

from .common import Common, successor_rate
from .rates import Rates
from .references import references
from .sent import Sent
from .trail import Node, Trail

__all__ = ["Guess", "Wish"]

#: What is more probable than this is sent first, and then what is more probable than a part of it,
#: and so on.
_PROBABLE = 0.5
_STEP = 0.3

#: How many successors are looked at, also of what the client has.
_FARTHEST = 400

#: How many records within records are followed.
_DEEPEST = 64


class Wish(NamedTuple):
    """How much an answer may bring."""

    #: How many records, at most.
    records: int
    #: How many bytes, at most, when they are packed.
    size: int
    #: How probable the use of each has to be, from 0 to 1.
    least: float


class Guess:
    """Collects the records that one answer brings.

    :param common: what the clients share.
    :param rates, trail, sent: of this client.
    :param tid: what the client wants has to be older.
    :param room: how many bytes the records may have.
    :param until: when to stop, by the clock of the allowance.
    """

    def __init__(
        self,
        common: Common,
        rates: Rates,
        trail: Trail,
        sent: Sent,
        tid: bytes,
        wish: Wish,
        room: int,
        until: float,
    ) -> None:
        self._common = common
        self._rates = rates
        self._trail = trail
        self._sent = sent
        self._tid = tid
        self._wish = wish
        self._room = room
        self._until = until
        self._ahead: list[Ahead] = []

    def make(self, oid: bytes, node: Node) -> list[Ahead]:
        """Return what comes probably after a record that is not remembered yet."""
        least = max(_PROBABLE, self._wish.least)
        while self._collect(oid, node, least) and least > self._wish.least:
            least = max(least * _STEP, self._wish.least)
        return self._ahead

    def _collect(self, oid: bytes, node: Node, least: float) -> bool:
        """Take what is at least so probable; return whether there is room for more."""
        if not self._follow_successors(oid, least) or not self._descend(node, -1, least):
            return False
        around = node
        for _ in range(_DEEPEST):
            if around.parent is None:
                break
            if not self._descend(around.parent, around.place, least):
                return False
            around = around.parent
        return True

    def _follow_successors(self, oid: bytes, least: float) -> bool:
        rates: dict[int, float] = {}
        probability = 1.0
        for _ in range(_FARTHEST):
            known = self._common.successors.after(oid)
            if known is None:
                break
            oid, count = known
            if count not in rates:
                rates[count] = successor_rate(self._rates, count)
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
        common = self._common
        node = self._trail.unused(oid)
        if node is not None and not common.changes.is_changed(oid, node.since):
            return True
        if common.allowance.seconds() > self._until:
            return False
        revision = common.find(oid, self._tid)
        if revision is None:
            return True
        data, serial, _ = revision
        if len(data) > self._room:
            return False
        if not self._sent.add(oid, serial):
            return True
        self._room -= len(data)
        self._trail.guessed(oid, Node(references(data), parent, place, common.changes.now))
        self._ahead.append((oid, serial, data))
        return len(self._ahead) < self._wish.records
