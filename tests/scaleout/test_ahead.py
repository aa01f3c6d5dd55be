"""Records come ahead of need from a database, too, also if nobody has loaded them before."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import ZODB
from persistent.mapping import PersistentMapping

import zeotwisted
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.clientstorage.speculation import worth

_COUNT = 500

_SECTION = """\
%import relstorage
<relstorage>
 keep-history {keep_history}
 {database}
</relstorage>
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def section(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A configuration with an empty database."""
    pytest.importorskip("relstorage")
    if request.param == "sqlite":
        database = f"<sqlite3>\n  driver sqlite3\n  data-dir {tmp_path}\n </sqlite3>"
        return _SECTION.format(keep_history="true", database=database)
    postgresql: PostgreSQLServer = request.getfixturevalue("postgresql")
    dsn = postgresql.new_database()
    database = f"<postgresql>\n  driver psycopg2\n  dsn {dsn}\n </postgresql>"
    return _SECTION.format(keep_history="false", database=database)


def test_a_walk_through_a_database_that_nobody_has_used(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, stop = zeotwisted.server(storage_conf=section)
    with closing(zeotwisted.DB(address)) as database, database.transaction() as connection:
        connection.root()["objects"] = [PersistentMapping(number=each) for each in range(_COUNT)]
    stop()
    # A round trip to a daemon on this machine may be too short for it.
    monkeypatch.setattr(worth, "_NEAR", 0.0)
    address, stop = zeotwisted.server(storage_conf=section)
    try:
        storage = zeotwisted.client(address, warm_start=False)
        with closing(ZODB.DB(storage)) as database, database.transaction() as connection:
            found = [each["number"] for each in connection.root()["objects"]]
            assert found == list(range(_COUNT))
            assert storage.statistics()["ahead_used"] > _COUNT / 5
    finally:
        stop()
