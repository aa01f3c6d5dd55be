"""Counts objects in little memory."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
from itertools import compress
from math import log2
from struct import pack

__all__ = ["MOST_SLOTS", "Budget", "Table", "ranked"]

#: How many slots a table has at first, and at most. Each takes 12 bytes.
_FIRST = 2**10
MOST_SLOTS = 2**18

#: It grows when this part of the slots is taken, so that few objects have to share one.
_FULL = 4

#: How many classes there are between a score and the double of it. A class has no order.
_CLASSES = 4


class Budget:
    """The slots that the tables of a storage may have together.

    :ivar left: how many may be taken.
    """

    def __init__(self, slots: int) -> None:
        self.left = slots

    def take(self, slots: int) -> bool:
        """Take some; return whether there were so many."""
        if slots > self.left:
            return False
        self.left -= slots
        return True


class Table:
    """The scores of objects. Each object has one slot, which it may share with others.

    The slot has one of them. Loads of the others take away from its score, and replace it when it
    has less than one of them brings. So what is often used stays.

    :param budget: where to take the slots from.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._count = 0
        self._make(_FIRST if budget.take(_FIRST) else 0)

    def __len__(self) -> int:
        """How many objects are known."""
        return self._count

    def _make(self, size: int) -> None:
        self._oids = array("Q", bytes(8 * size))
        self._scores = array("f", bytes(4 * size))
        self._mask = size - 1

    def add(self, numbers: Iterable[int], added: Iterable[float]) -> None:
        """Add to the scores of objects.

        :param numbers: their oids.
        """
        oids, scores, mask = self._oids, self._scores, self._mask
        if mask < 0:
            return
        for number, score in zip(numbers, added):  # noqa: B905 - what is added may be endless
            slot = (number ^ number >> 18) & mask
            known = scores[slot]
            if oids[slot] == number and known:
                scores[slot] = known + score
            elif known > score:
                scores[slot] = known - score
            else:
                self._count += not known
                oids[slot] = number
                scores[slot] = score
        if _FULL * self._count > mask < MOST_SLOTS - 1:
            self._grow()

    def _grow(self) -> None:
        size = len(self._oids)
        if not self._budget.take(3 * size):
            return
        oids, scores = self.copy()
        self._make(4 * size)
        self._count = 0
        self.add(compress(oids, scores), filter(None, scores))

    def copy(self) -> tuple[array[int], array[float]]:
        """Return the slots: their objects, and the scores of these; 0 for an empty slot."""
        return self._oids[:], self._scores[:]

    def shrink(self, factor: float) -> None:
        """Divide all scores by a factor."""
        self._scores = array("f", [score / factor for score in self._scores])
        self._count = sum(map(bool, self._scores))

    def give_back(self) -> None:
        """Forget all, and give the slots back."""
        self._budget.left += len(self._oids)
        self._make(0)
        self._count = 0


def ranked(oids: Iterable[int], scores: Iterable[float]) -> bytes:
    """Return the joined oids in the order of their scores, the highest first.

    Those whose scores differ by less than a fifth are in any order. It may run in a thread: it does
    not keep the interpreter for long, as sorting would.
    """
    classes: defaultdict[int, array[int]] = defaultdict(lambda: array("Q"))
    for number, score in zip(oids, scores, strict=True):
        if score:
            classes[int(log2(score) * _CLASSES + 1000)].append(number)
    return b"".join(
        pack(f">{len(numbers)}Q", *numbers) for _, numbers in sorted(classes.items(), reverse=True)
    )
