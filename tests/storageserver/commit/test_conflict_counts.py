"""Conflicts are counted where an operator looks, whoever resolves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transaction

import zeotwisted
from tests.ordering.puppets import OID_A, OID_B, Server


def test_conflicts_that_are_left_to_clients() -> None:
    server = Server(client_conflict_resolution=True)
    winner, loser = server.client(), server.client()
    stats = server.served.stats
    for number, oid in enumerate((OID_A, OID_B)):
        serial = winner.commit(10 * number + 1, oid)
        loser.begin(100 + number, oid, serial=serial)
        serial = winner.commit(10 * number + 2, oid, serial=serial)
        ((conflict,), _) = loser.ask("vote", 100 + number)
        assert conflict["oid"] == oid
        if oid == OID_A:
            loser.tell("storea", oid, serial, b"resolved", 100)
            loser.ask("vote", 100)
            loser.ask("tpc_finish", 100)
            assert (stats.conflicts, stats.conflicts_resolved) == (0, 1)
        else:
            # The client cannot resolve it.
            loser.ask("tpc_abort", 101)
            assert (stats.conflicts, stats.conflicts_resolved) == (1, 1)


def test_undone_objects_are_no_conflicts(serve: Callable[..., Any], tmp_path: Path) -> None:
    db = zeotwisted.DB(serve(str(tmp_path / "Data.fs")))
    for value in (1, 2):
        with db.transaction() as connection:
            connection.root()["x"] = value
    db.undo(db.undoLog(0, 1)[0]["id"])
    transaction.commit()
    with db.transaction() as connection:
        assert connection.root()["x"] == 1, "the client was told to load the object again"
    status = db.storage.server_status()
    assert (status["conflicts"], status["conflicts_resolved"]) == (0, 0)
    db.close()
