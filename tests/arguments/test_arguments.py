"""Arguments that can never work: refused at once, in one line, with the right spelling."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from ZEO.ClientStorage import ClientStorage as StockClientStorage
from ZODB.MappingStorage import MappingStorage

import zeotwisted
from zeotwisted.arguments.addresses import LONGEST_PATH, parse_address
from zeotwisted.arguments.rules import ArgumentError
from zeotwisted.clientstorage.arguments import CLIENT_STORAGE, STORAGE_CLIENT
from zeotwisted.clientstorage.native import StorageClient
from zeotwisted.clientstorage.storage import ClientStorage
from zeotwisted.storageserver.arguments import SERVER_OPTIONS
from zeotwisted.storageserver.options import ServerOptions
from zeotwisted.storageserver.service import StorageServer

NOWHERE = ("127.0.0.1", 1)


class NoReactor:
    """Cannot be used: what reaches it was not refused."""

    def callFromThread(self, *args: Any) -> None:
        raise AssertionError("it was not refused")

    callLater = callFromThread


def refused(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Return the text of the error, which has to be of one line and name a remedy."""
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text and "; " in text
    return text


# Addresses.


@pytest.mark.parametrize(
    ("addr", "right"),
    [
        (("127.0.0.1", "8100"), "('127.0.0.1', 8100)"),
        (("zeo.example.com", "8100"), "('zeo.example.com', 8100)"),
        ([("127.0.0.1", "8100")], "('127.0.0.1', 8100)"),
        ("127.0.0.1", "('127.0.0.1', 8100)"),
        ("localhost", "('localhost', 8100)"),
        ("::1", "('::1', 8100)"),
        (["127.0.0.1", 8100], "('127.0.0.1', 8100)"),
        ("zeo.example.com:8100", "('zeo.example.com', 8100)"),
        ("[::1]:8100", "('::1', 8100)"),
        (":8100", "('127.0.0.1', 8100)"),
        ("8100", "write 8100"),
        (("zeo:8100", 8100), "('zeo', 8100)"),
        (("[::1]", 8100), "('::1', 8100)"),
        ((" zeo", 8100), "('zeo', 8100)"),
        ((b"zeo", 8100), "('zeo', 8100)"),
        (("zeo", 8100.0), "('zeo', 8100)"),
        (("::1", 8100, 0, 0), "('::1', 8100)"),
        (b"/run/zeo.sock", "'/run/zeo.sock'"),
        (("zeo", 0), "from 1 to 65535"),
        (("zeo", 70000), "from 1 to 65535"),
        (("zeo", -1), "from 1 to 65535"),
        (("zeo", None), "from 1 to 65535"),
        (("zeo", True), "from 1 to 65535"),
        (0, "from 1 to 65535"),
        (("two words", 8100), "a name or an IP address"),
        (("a..b", 8100), "a name or an IP address"),
        (("x" * 64, 8100), "a name or an IP address"),
        (("a/b", 8100), "a name or an IP address"),
        ("/run/" + "x" * (LONGEST_PATH - 4), f"{LONGEST_PATH} bytes at most"),
        ("/run/" + "é" * 60, f"{LONGEST_PATH} bytes at most"),
        (Path("/" + "x" * 200), f"{LONGEST_PATH} bytes at most"),
        ("", "a \\(host, port\\) pair"),
        (("*", 8100), "a name or an IP address"),
        ("tcp:host=localhost:port=8100", "such as"),
        ("tcp:zeo:8100", "such as"),
        ("unix:/run/zeo.sock", "'/run/zeo.sock'"),
        ("zeo://localhost:8100", "such as"),
        ("a\0b", "a \\(host, port\\) pair"),
        ("\ud800", "a \\(host, port\\) pair"),
        (None, "a \\(host, port\\) pair"),
        (True, "a \\(host, port\\) pair"),
        (8100.0, "a \\(host, port\\) pair"),
        ((None, 8100), "a \\(host, port\\) pair"),
        ([], "a \\(host, port\\) pair"),
        ([None], "a \\(host, port\\) pair"),
        ([["127.0.0.1", 8100]], "a \\(host, port\\) pair"),
        ({"host": "zeo"}, "a \\(host, port\\) pair"),
        (object(), "a \\(host, port\\) pair"),
    ],
)  # fmt: skip
def test_what_is_no_address(addr: Any, right: str) -> None:
    text = refused(ClientStorage, addr)
    assert right.replace("\\", "") in text
    assert refused(StorageClient, NoReactor(), addr) == text


@pytest.mark.parametrize(
    ("addr", "addresses"),
    [
        (8100, [("127.0.0.1", 8100)]),
        (("zeo", 8100), [("zeo", 8100)]),
        (("", 8100), [("127.0.0.1", 8100)]),
        (("fe80::1%eth0", 8100), [("fe80::1%eth0", 8100)]),
        (("bücher.example", 8100), [("bücher.example", 8100)]),
        (("zeo_1.example.", 8100), [("zeo_1.example.", 8100)]),
        ("/run/zeo.sock", ["/run/zeo.sock"]),
        ("zeo.sock", ["zeo.sock"]),
        ("./127.0.0.1", ["./127.0.0.1"]),
        ("\0abstract", ["\0abstract"]),
        (Path("/run/zeo.sock"), ["/run/zeo.sock"]),
        ("/" + "x" * (LONGEST_PATH - 1), ["/" + "x" * (LONGEST_PATH - 1)]),
        ([("a", 1), "/b", 2], [("a", 1), "/b", ("127.0.0.1", 2)]),
        ((("a", 1), ("b", 2)), [("a", 1), ("b", 2)]),
        (("/a.sock", "/b.sock"), ["/a.sock", "/b.sock"]),
        ((8100, 8101), [("127.0.0.1", 8100), ("127.0.0.1", 8101)]),
        (iter([("a", 1)]), [("a", 1)]),
        ([b"/run/zeo.sock", Path("b")], ["/run/zeo.sock", "b"]),
        ([(None, 8100)], [("127.0.0.1", 8100)]),
    ],
)  # fmt: skip
def test_what_is_an_address(addr: Any, addresses: list[Any]) -> None:
    assert parse_address(addr) == addresses


@pytest.mark.parametrize(
    ("args", "right"),
    [
        (("127.0.0.1", 8100), "('127.0.0.1', 8100)"),
        (("127.0.0.1", "8100"), "('127.0.0.1', 8100)"),
        (("localhost", 8100), "('localhost', 8100)"),
        (("zeo.example.com", 8100), "as in ('127.0.0.1', 8100)"),
    ],
)
@pytest.mark.parametrize("name", ["client", "DB", "connection", "ClientStorage"])
def test_host_and_port_as_two_arguments(name: str, args: Any, right: str) -> None:
    assert right in refused(getattr(zeotwisted, name), *args)


# The other arguments of a client.

OF_A_CLIENT: list[tuple[str, Any, str]] = [
    ("storage", 1, "write '1'"),
    ("storage", b"main", "write 'main'"),
    ("storage", None, "such as '1'"),
    ("storage", "\ud800", "such as '1'"),
    ("cache_size", -1, "a number of bytes"),
    ("cache_size", "20MB", "write 20 * 1024**2"),
    ("cache_size", "64 kb", "write 64 * 1024"),
    ("cache_size", "much", "a number of bytes"),
    ("cache_size", None, "a number of bytes"),
    ("cache_size", math.inf, "a number of bytes"),
    ("cache_size", 1e30, "a number of bytes"),
    ("cache", b"x.zec", "write 'x.zec'"),
    ("cache", 5, "the path of a file"),
    ("cache", object(), "the path of a file"),
    ("cache", dict, "the path of a file"),
    ("cache", "/no/such/x.zec", "create /no/such"),
    ("cache", "/", "/ is a folder"),
    ("wait_timeout", -1, "a number of seconds"),
    ("wait_timeout", math.nan, "a number of seconds"),
    ("wait_timeout", math.inf, "a number of seconds"),
    ("wait_timeout", 1e300, "a number of seconds"),
    ("wait_timeout", 10**400, "a number of seconds"),
    ("name", 5, "a text"),
    ("name", b"main", "write 'main'"),
    ("wait_timeout", "30", "the number 30"),
    ("wait_timeout", "soon", "a number of seconds"),
    ("liveness_timeout", -1, "0 for ever"),
    ("liveness_timeout", math.nan, "0 for ever"),
    ("liveness_timeout", "60", "the number 60"),
    ("read_only", "no", "True or False"),
    ("read_only_fallback", "false", "True or False"),
    ("refuse_older_server", b"", "True or False"),
    ("ssl", True, "optionsForClientTLS"),
    ("ssl", "client.pem", "optionsForClientTLS"),
    ("ssl_server_hostname", 5, "the name of a host"),
    ("ssl_server_hostname", "zeo", "without ssl"),
    ("reactor", "epoll", "a Twisted reactor"),
]

OF_CLIENT_STORAGE: list[tuple[str, Any, str]] = [
    ("client", object(), "'zope1'"),
    ("client", b"zope1", "write 'zope1'"),
    ("var", 5, "the path of a folder"),
    ("var", b"var", "write 'var'"),
    ("blob_dir", 5, "the path of a folder"),
    ("blob_dir", b"blobs", "write 'blobs'"),
    ("blob_dir", "", "'.' is the current one"),
    ("blob_dir", "a\0b", "the path of a folder"),
    ("blob_dir", __file__, "is none"),
    ("blob_dir", f"{__file__}/blobs", "is none"),
    ("shared_blob_dir", "no", "True or False"),
    ("blob_cache_size", -1, "a number of bytes"),
    ("blob_cache_size", "1GB", "write 1 * 1024**3"),
    ("blob_cache_size_check", "10", "a percentage"),
    ("client_label", 5, "write a text"),
    ("wait", "off", "True or False"),
    ("server_sync", "off", "True or False"),
    ("read_ahead", "off", '"auto", True or False'),
    ("warm_start", "off", "True or False, or the name of a group"),
    ("warm_start", "", "True or False, or the name of a group"),
    ("warm_start", "x" * 101, "True or False, or the name of a group"),
]


@pytest.mark.parametrize(("name", "value", "right"), OF_A_CLIENT + OF_CLIENT_STORAGE)
def test_client_storage(name: str, value: Any, right: str) -> None:
    text = refused(zeotwisted.client, NOWHERE, **{name: value})
    assert name in text or name == "ssl_server_hostname"
    assert right in text


@pytest.mark.parametrize(("name", "value", "right"), OF_A_CLIENT)
def test_storage_client(name: str, value: Any, right: str) -> None:
    options = {"reactor": NoReactor(), "addr": NOWHERE, name: value}
    assert right.split(",")[0] in refused(StorageClient, **options)


def test_var_is_looked_at_when_it_is_used() -> None:
    assert "create /no/such" in refused(ClientStorage, NOWHERE, client="c", var="/no/such")
    assert "var" in refused(ClientStorage, NOWHERE, client="c", var=5)
    ClientStorage(NOWHERE, var="/no/such", wait=False).close()


@pytest.mark.parametrize(
    "options",
    [
        {"cache_size": 1e6, "wait_timeout": 1, "liveness_timeout": None},
        {"read_only": 1, "read_only_fallback": 1, "wait_timeout": 0.5, "liveness_timeout": 0},
        {"cache": "", "blob_dir": None, "shared_blob_dir": True, "ssl": None},
        {"client_label": b"label", "blob_cache_size_check": 150, "cache_size": 0},
        {"disconnect_poll": "x", "min_disconnect_poll": -1, "max_disconnect_poll": math.nan},
        {"username": "u", "password": "p", "realm": "r", "credentials": 4},
        {"ssl_server_hostname": "", "name": None},
    ],
)
def test_what_zeos_client_takes_is_taken(options: dict[str, Any]) -> None:
    ClientStorage(NOWHERE, wait=False, **options).close()


def test_paths_may_be_path_objects(tmp_path: Path) -> None:
    storage = ClientStorage(
        tmp_path / "s", wait=False, cache=tmp_path / "c.zec", blob_dir=tmp_path / "new" / "blobs"
    )
    assert storage.blob_dir == str(tmp_path / "new" / "blobs")
    storage.close()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("wait_timout", "write wait_timeout"),
        ("blobdir", "write blob_dir"),
        ("readonly", "write read_only"),
        ("cache-size", "write cache_size"),
        ("Storage", "write storage"),
        ("xyzzy", "it has addr, storage, "),
    ],
)
@pytest.mark.parametrize("function", ["client", "DB", "connection"])
def test_keyword_that_is_none(function: str, name: str, right: str) -> None:
    assert right in refused(getattr(zeotwisted, function), NOWHERE, **{name: 1})


def test_wrong_arguments_are_type_errors_too() -> None:
    with pytest.raises(TypeError):
        zeotwisted.client(None)
    with pytest.raises(ArgumentError):
        zeotwisted.client(NOWHERE, nonsense=1)


def test_each_rule_is_that_of_an_argument() -> None:
    # Those of an account have a check of their own, which does not show the password.
    without = {"ssl", "name", "cache", "username", "password"}
    for function, table in ((ClientStorage, CLIENT_STORAGE), (StorageClient, STORAGE_CLIENT)):
        names = set(inspect.signature(function).parameters)
        assert set(table) <= names
        if function is StorageClient:
            assert names - set(table) <= without
    unchecked = set(inspect.signature(ClientStorage).parameters) - set(CLIENT_STORAGE)
    ignored = set(inspect.signature(StockClientStorage).parameters)
    # Those that are looked at elsewhere, are only shown, or mean nothing.
    assert unchecked <= ignored
    assert set(SERVER_OPTIONS) == set(inspect.signature(ServerOptions).parameters)


# A server.


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({"path": 8100}, "port=8100"),
        ({"path": b"Data.fs"}, "write 'Data.fs'"),
        ({"path": ""}, "the path of a file"),
        ({"path": "/no/such/Data.fs"}, "create the directory"),
        ({"blob_dir": 5}, "the path of a folder"),
        ({"storage_conf": 5}, "as a text"),
        ({"zeo_conf": 5}, "a <zeo> section"),
        ({"zeo_conf": {1: 2}}, "keys are texts"),
        ({"zeo_conf": {"read_ony": True}}, "write read-only"),
        ({"zeo_conf": {"address": "/" + "x" * LONGEST_PATH}}, f"at most {LONGEST_PATH} bytes"),
        ({"zeo_conf": {"address": "two words:0"}}, "write host:port"),
        ({"port": "many"}, "from 0 to 65535"),
        ({"port": 70000}, "from 0 to 65535"),
        ({"port": -1}, "from 0 to 65535"),
        ({"threaded": "no"}, "True or False"),
    ],
)
def test_server(options: dict[str, Any], right: str) -> None:
    assert right in refused(zeotwisted.server, **options)


@pytest.mark.parametrize(
    ("storages", "right"),
    [
        (MappingStorage(), "write {'1': storage}"),
        ({1: MappingStorage()}, "write {'1': storage}"),
        ({b"main": MappingStorage()}, "write {'main': storage}"),
        ({}, "at least one"),
        (None, "{'1': storage}"),
    ],
)
def test_storages_of_a_server(storages: Any, right: str) -> None:
    assert right in refused(StorageServer, NoReactor(), storages)


def test_options_and_endpoints_of_a_server() -> None:
    storages = {"1": MappingStorage()}
    text = refused(StorageServer, NoReactor(), storages, {"read_only": True})
    assert "ServerOptions(" in text
    server = StorageServer(NoReactor(), storages)
    assert "serverFromString(reactor, 'tcp:8100')" in refused(server.listen, "tcp:8100", "here")
    assert "serverFromString" in refused(server.listen, 8100, "here")
    server.listen(TCP4ServerEndpoint(MemoryReactorClock(), 8100), "here")


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({"read_only": "no"}, "True or False"),
        ({"invalidation_queue_size": 0}, "1 or more"),
        ({"invalidation_queue_size": "100"}, "1 or more"),
        ({"invalidation_queue_bytes": -1}, "a number of bytes"),
        ({"record_cache_bytes": "1MB"}, "write 1 * 1024**2"),
        ({"invalidation_queue_bytes": "32MB"}, "write 32 * 1024**2"),
        ({"invalidation_age": -1}, "a number of seconds"),
        ({"transaction_timeout": -1}, "0 for no time-out"),
        ({"transaction_timeout": math.nan}, "0 for no time-out"),
        ({"client_conflict_resolution": "no"}, "True or False"),
        ({"msgpack": "no"}, "True or False"),
        ({"protocol_limit": 4}, "5 or 6"),
        ({"protocol_limit": "6"}, "5 or 6"),
        ({"message_limit": 0}, "2**30"),
        ({"message_limit": 2**32}, "2**30"),
        ({"message_limit": "1GB"}, "1 * 1024**3"),
        ({"spool_dir": "/no/such"}, "create /no/such"),
        ({"register_timeout": 0}, "a number of seconds"),
        ({"client_timeout": -1}, "0 for ever"),
    ],
)
def test_options_of_a_server(options: dict[str, Any], right: str) -> None:
    (name,) = options
    text = refused(ServerOptions, **options)
    assert name in text and right in text
