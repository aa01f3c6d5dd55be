"""The `<clientstorage>` section: every key, and how an application comes to it."""

from __future__ import annotations

import inspect
from io import StringIO

import pytest
import ZConfig
import ZODB.config
from ZEO.ClientStorage import ClientStorage as StockClientStorage

from zeotwisted.config.client import ClientStorageConfig
from zeotwisted.config.server import ConfigurationError

DEFAULTS = {
    "storage": "1",
    "name": "",
    "cache": None,
    "cache_size": 20 * 1024**2,
    "blob_dir": None,
    "shared_blob_dir": False,
    "read_only": False,
    "read_only_fallback": False,
    "server_sync": False,
    "wait_timeout": 30,
}


def section_text(*lines: str, server: str = "localhost:8100", name: str = "") -> str:
    """Return a section whose `lines` begin at line 4."""
    return "\n".join(
        [
            "%import zeotwisted",
            f"<clientstorage {name}>",
            f"server {server}",
            *lines,
            "</clientstorage>",
        ]
    )


def section(*lines: str, server: str = "localhost:8100", name: str = "") -> ClientStorageConfig:
    text = section_text(*lines, server=server, name=name)
    config, _ = ZConfig.loadConfigFile(ZODB.config.getStorageSchema(), StringIO(text))
    assert isinstance(config.storage, ClientStorageConfig)
    return config.storage


class Opened:
    """Stands in for the client storage: remembers what it was opened with."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.args = args
        self.kwargs = kwargs


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeotwisted.clientstorage.ClientStorage", Opened)


def test_defaults() -> None:
    assert section().arguments() == ([("localhost", 8100)], DEFAULTS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cache-size 4KB", {"cache_size": 4096}),
        ("cache-path client.zec", {"cache": "client.zec"}),
        ("blob-dir blobs", {"blob_dir": "blobs"}),
        ("shared-blob-dir yes", {"shared_blob_dir": True}),
        ("blob-cache-size 1GB", {"blob_cache_size": 1024**3}),
        ("blob-cache-size-check 50", {"blob_cache_size_check": 50}),
        ("read-only on", {"read_only": True}),
        ("read-only-fallback on", {"read_only_fallback": True}),
        ("server-sync on", {"server_sync": True}),
        ("wait-timeout 5", {"wait_timeout": 5}),
        ("client-label web 1", {"client_label": "web 1"}),
        ("liveness-timeout 7.5", {"liveness_timeout": 7.5}),
        ("liveness-timeout 0", {"liveness_timeout": 0.0}),
        ("read-ahead on", {"read_ahead": True}),
        ("read-ahead off", {"read_ahead": False}),
        ("read-ahead auto", {}),
        ("warm-start on", {}),
        ("warm-start off", {"warm_start": False}),
        ("warm-start web 1", {"warm_start": "web 1"}),
        ("storage main", {"storage": "main"}),
        ("name The Storage", {"name": "The Storage"}),
    ],
)
def test_a_value(line: str, expected: dict[str, object]) -> None:
    assert section(line).arguments()[1] == DEFAULTS | expected


def test_every_argument_is_one_that_zeos_client_has() -> None:
    _, options = section(
        "blob-cache-size 1GB", "blob-cache-size-check 50", "client-label x"
    ).arguments()
    inspect.signature(StockClientStorage).bind("address", **options)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("8100", ("127.0.0.1", 8100)),
        ("zeo.example:8100", ("zeo.example", 8100)),
        ("[::1]:8100", ("::1", 8100)),
        ("/run/zeo.sock", "/run/zeo.sock"),
    ],
)
def test_server(server: str, expected: object) -> None:
    assert section(server=server).arguments()[0] == [expected]


def test_several_servers() -> None:
    addresses, _ = section("server b:2", "server ./c").arguments()
    assert addresses == [("localhost", 8100), ("b", 2), "./c"]


def test_name_of_the_section() -> None:
    assert section().name is None
    assert section(name="Base").name == "base"


@pytest.mark.parametrize("server", ["localhost", "zeo.sock", "localhost:70000"])
def test_bad_server(server: str) -> None:
    with pytest.raises(ZConfig.DataConversionError) as caught:
        section(server=server)
    assert str(caught.value) == (
        f"{server!r} is not an address; write host:port, or a port from 0 to 65535, "
        "or a path with a slash in it (line 3)"
    )


def test_server_is_required() -> None:
    with pytest.raises(ZConfig.ConfigurationSyntaxError, match="not enough values for 'server'"):
        ZODB.config.storageFromString("%import zeotwisted\n<clientstorage>\n</clientstorage>")


def test_unknown_key() -> None:
    with pytest.raises(ZConfig.ConfigurationError, match="'waits' is not a known key name"):
        section("waits on")


def test_ssl_with_files_that_are_not_there(opened: None) -> None:
    config = section("<ssl>", "certificate /no/such/client.pem", "</ssl>")
    with pytest.raises(ConfigurationError) as caught:
        config.open()
    assert str(caught.value) == (
        "<clientstorage>: <ssl>: certificate: /no/such/client.pem is no file; correct the path"
    )


def test_storage_from_string(opened: None) -> None:
    storage = ZODB.config.storageFromString(section_text("storage main"))
    assert isinstance(storage, Opened)
    assert storage.args == ([("localhost", 8100)],)
    assert storage.kwargs == DEFAULTS | {"storage": "main"}


def test_database_section() -> None:
    text = "%import zeotwisted\n<zodb>\n<clientstorage>\nserver 8100\n</clientstorage>\n</zodb>"
    config, _ = ZConfig.loadConfigFile(ZODB.config.getDbSchema(), StringIO(text))
    assert isinstance(config.database[0].config.storage, ClientStorageConfig)
