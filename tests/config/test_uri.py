"""zodburi opens our client by a scheme of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import ZODB
import zodburi

import zeotwisted
from zeotwisted.config.loader import ConfigurationError
from zeotwisted.config.uri import resolve


def test_zodburi_opens_a_database() -> None:
    (host, port), stop = zeotwisted.server()  # type: ignore[misc]
    try:
        factory, database = zodburi.resolve_uri(
            f"zeotwisted://{host}:{port}?wait_timeout=10&cache_size=5MB&connection_cache_size=7"
            "&min_disconnect_poll=1&username=u"
        )
        assert database["cache_size"] == 7
        db = ZODB.DB(factory(), **database)
        assert isinstance(db.storage, zeotwisted.ClientStorage)
        assert db.storage.is_connected()
        db.close()
    finally:
        stop()


def test_a_socket(tmp_path: Path) -> None:
    conf = f"<zeo>\n address {tmp_path / 'zeo.sock'}\n</zeo>"
    address, stop = zeotwisted.server(zeo_conf=conf)
    try:
        factory, rest = resolve(f"zeotwisted://{address}?read_only=yes&storage=1")
        assert rest == {}
        storage = factory()
        assert storage.isReadOnly() and storage.is_connected()
        storage.close()
    finally:
        stop()


def test_zodburi_refuses_what_nobody_knows() -> None:
    with pytest.raises(zodburi.UnknownDatabaseKeywords, match="cachesize"):
        zodburi.resolve_uri("zeotwisted://localhost:8100?cachesize=5")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("zeotwisted://h:1?wait_timeout=x", "wait_timeout=x cannot be used; write wait_timeout=a"),
        ("zeotwisted://h:1?wait=maybe", "wait=maybe cannot be used; write wait=1 or 0"),
        ("zeotwisted://h:1?cache_size=x", "cache_size=x cannot be used; write cache_size=20MB"),
        ("zeotwisted://h:70000", "no port from 1 to 65535; write zeotwisted://host:port"),
    ],
)
def test_a_mistake_is_told_at_once(uri: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(uri)
    assert message in str(caught.value)
