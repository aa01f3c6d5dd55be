"""How often guesses of each kind come true."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Rates"]

#: What is usually taken for the rate of a kind of which nothing is known.
_UNKNOWN = 0.5

#: How many times what others have seen counts for a client.
_SHARED = 2.0

#: After so many chances, older ones count less and less.
_LONGEST = 32.0

#: How many kinds are remembered.
_MOST = 1000


class Rates:
    """Counts chances, and those that came true, by kinds.

    :param others: the rates that all clients share; None if these are the ones.
    """

    def __init__(self, others: Rates | None = None) -> None:
        self._others = others
        # For each kind: how many came true, and out of how many.
        self._counts: dict[Hashable, list[float]] = {}

    def rate(self, kind: Hashable, unknown: float = _UNKNOWN) -> float:
        """Return how probable it is that a chance of this kind comes true, from 0 to 1.

        :param unknown: what to return if nothing is known of the kind.
        """
        shared = unknown if self._others is None else self._others.rate(kind, unknown)
        counts = self._counts.get(kind)
        if counts is None:
            return shared
        return (counts[0] + _SHARED * shared) / (counts[1] + _SHARED)

    def chance(self, kind: Hashable) -> None:
        """Note that something of this kind may come true from now on."""
        if self._others is not None:
            self._others.chance(kind)
        counts = self._counts.get(kind)
        if counts is None:
            if len(self._counts) >= _MOST:
                # The frequent ones will soon be there again.
                self._counts.clear()
            self._counts[kind] = [0.0, 1.0]
            return
        counts[1] += 1.0
        if counts[1] > _LONGEST:
            counts[0] *= 0.5
            counts[1] *= 0.5

    def came_true(self, kind: Hashable, part: float = 1.0) -> None:
        """Note that a chance has come true, or a part of it."""
        if self._others is not None:
            self._others.came_true(kind, part)
        counts = self._counts.get(kind)
        if counts is not None:
            counts[0] = min(counts[0] + part, counts[1])
