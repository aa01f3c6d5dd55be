"""The root object of an empty database, which several clients may want to make."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, ReadConflictError

import zeotwisted
from zeotwisted.clientstorage.database import open_database

from .support import InThread, World


class Contested(MappingStorage):
    """Another client is faster a number of times."""

    def __init__(self, times: int, error: type[ConflictError]) -> None:
        super().__init__()
        self.times = times
        self.error = error
        self.pings = 0

    def ping(self) -> None:
        self.pings += 1

    def tpc_vote(self, transaction: Any) -> None:
        if self.times:
            self.times -= 1
            raise self.error()
        super().tpc_vote(transaction)


@pytest.mark.parametrize("error", [ConflictError, ReadConflictError])
def test_a_conflict_is_no_reason_to_give_up(error: type[ConflictError]) -> None:
    storage = Contested(2, error)
    database = open_database(storage)
    with database.transaction() as connection:
        connection.root()["key"] = 1
    # The other client's root is to be seen the next time.
    assert storage.pings == 2
    database.close()


def test_conflicts_without_end() -> None:
    storage = Contested(1000, ConflictError)
    with pytest.raises(ConflictError):
        open_database(storage)
    assert not storage.opened()
    assert storage.times > 900


def test_other_errors_are_final() -> None:
    storage = Contested(1, ValueError)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        open_database(storage)
    assert storage.pings == 0 and not storage.opened()


def test_many_clients_open_an_empty_database(world: World, package: str) -> None:
    address = world.server(package).address
    together = threading.Barrier(12)

    def start(number: int) -> None:
        together.wait()
        database = zeotwisted.DB(address)
        with database.transaction() as connection:
            assert connection.root() is not None
        database.close()

    for starting in [InThread(start, number) for number in range(12)]:
        starting.result()
