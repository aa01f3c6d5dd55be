"""Who reads the log of a storage's transactions, such as a backup, and how far each one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ..figures import ReaderReport

__all__ = ["Reader", "Readers"]


class Reader(Protocol):
    """A client."""

    @property
    def label(self) -> str:
        """The name of the client in log lines."""

    @property
    def number(self) -> int:
        """A number that no other client of the server has had."""


class _Reading(NamedTuple):
    iterator: int
    begun: float
    done: float


class Readers:
    """The clients that read the log, each with the iterator that it has used last.

    Call all methods in the reactor's thread.

    :param seconds: returns a time in seconds.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._readings: dict[Reader, _Reading] = {}

    def reads(self, reader: Reader, iterator: int, done: float) -> None:
        """Note how far a client is.

        :param iterator: the number of its iterator.
        :param done: which part it has read, from 0 to 1.
        """
        before = self._readings.get(reader)
        same = before is not None and before.iterator == iterator
        begun = before.begun if before is not None and same else self._seconds()
        self._readings[reader] = _Reading(iterator, begun, done)

    def ends(self, reader: Reader) -> None:
        """Note that a client does not read any more, if it did."""
        self._readings.pop(reader, None)

    def report(self) -> list[ReaderReport]:
        """Return who reads; who has the most left is first."""
        now = self._seconds()
        reports = [
            ReaderReport(
                reader.label,
                reader.number,
                now - reading.begun,
                reading.done,
                (now - reading.begun) * (1 - reading.done) / reading.done if reading.done else None,
            )
            for reader, reading in self._readings.items()
        ]
        return sorted(reports, key=lambda each: each.done)
