"""ZODB's storage tests with a RelStorage on PostgreSQL, whose commits are pushed to the daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor
from ZODB.config import storageFromString

from zeotwisted.storageserver.engine import choose_engine
from zeotwisted.storageserver.engine.postgresql import PostgreSQL

from .backends import relstorage_postgresql, relstorage_postgresql_without_history
from .case import cases

pytestmark = pytest.mark.usefixtures("postgresql_backends")

globals().update(cases("relstorage_postgresql", __name__))
globals().update(cases("relstorage_postgresql_without_history", __name__))


@pytest.mark.parametrize("backend", [relstorage_postgresql, relstorage_postgresql_without_history])
def test_they_are_served_by_push(tmp_path: Path, backend: Callable[[Path], str]) -> None:
    storage = storageFromString(backend(tmp_path))
    try:
        engine = choose_engine("1", storage, reactor)
        assert type(engine) is PostgreSQL
        engine.stop()
    finally:
        storage.close()
