"""Memory goes back to the system when clients have gone that held much of it."""

from __future__ import annotations

import itertools
import sys

import pytest
from twisted.internet.task import Clock

from zeotwisted.storageserver.limits.trimming import Trimmer, resident, trim

MB = 2**20


class Process:
    """The memory of a process.

    :ivar used: what clients use; the rest above 50 MB can be given back.
    """

    def __init__(self) -> None:
        self.memory = 50 * MB
        self.used = 0
        self.trims = 0

    def resident(self) -> int:
        return self.memory

    def trim(self) -> None:
        self.trims += 1
        self.memory = 50 * MB + self.used


def test_after_clients_have_freed_much() -> None:
    clock, process = Clock(), Process()
    trimmer = Trimmer(clock, process.resident, process.trim)
    process.memory += 7 * MB
    trimmer.client_left()
    assert not clock.getDelayedCalls()
    process.memory += 33 * MB
    trimmer.client_left()
    trimmer.client_left()
    assert process.trims == 0
    clock.advance(1)
    assert process.trims == 1
    trimmer.client_left()
    assert not clock.getDelayedCalls()


def test_memory_that_is_in_use_is_not_looked_at_again_and_again() -> None:
    clock, process = Clock(), Process()
    trimmer = Trimmer(clock, process.resident, process.trim)
    process.memory = 250 * MB
    process.used = 200 * MB
    when = []
    for _ in range(400):
        trimmer.client_left()
        clock.advance(1)
        if process.trims > len(when):
            when.append(clock.seconds())
    pauses = [later - earlier for earlier, later in itertools.pairwise(when)]
    assert pauses == [5.0, 10.0, 20.0, 40.0] + [60.0] * (len(pauses) - 4)
    # The clients have gone: this is noticed at the next attempt.
    process.used = 0
    trimmer.client_left()
    clock.advance(60)
    assert process.memory == 50 * MB
    assert not clock.getDelayedCalls()


def test_close() -> None:
    clock, process = Clock(), Process()
    trimmer = Trimmer(clock, process.resident, process.trim)
    process.memory *= 2
    trimmer.client_left()
    trimmer.close()
    trimmer.close()
    assert not clock.getDelayedCalls()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_memory_of_a_process() -> None:
    assert 10 * MB < resident() < 100_000 * MB


def test_it_can_be_done() -> None:
    trim()
