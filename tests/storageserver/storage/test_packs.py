"""A pack that is interrupted leaves the storage as it was."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError

from tests.ordering.puppets import Server


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    """A storage with old revisions and garbage."""
    storage = FileStorage(str(tmp_path / "Data.fs"))
    database = ZODB.DB(storage)
    connection = database.open()
    for number in range(5):
        connection.root()["x"] = PersistentMapping({"n": number})
        transaction.commit()
    connection.close()
    yield storage
    database.close()


def test_interrupted(storage: Any, tmp_path: Path) -> None:
    server = Server(storage)
    client = server.client()
    before = (tmp_path / "Data.fs").read_bytes()
    server.slow.immediate = False
    pack = client.send("pack", time.time(), True)
    server.served.interrupt_packs()
    server.slow.work()
    ((_, id, error),) = client.received()
    assert (id, type(error)) == (pack, StorageError)
    assert "interrupted, because the server stops" in str(error)
    assert (tmp_path / "Data.fs").read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if "pack" in name or name.endswith(".old")]


def test_not_interrupted(storage: Any, tmp_path: Path) -> None:
    client = Server(storage).client()
    before = (tmp_path / "Data.fs").stat().st_size
    assert client.ask("pack", time.time(), True) is None
    assert (tmp_path / "Data.fs").stat().st_size < before
