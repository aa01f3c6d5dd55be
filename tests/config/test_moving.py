"""Configurations that were written for ZEO: every key is taken, beside ZEO's own sections, too."""

from __future__ import annotations

import logging
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
import ZConfig
import ZODB.config

import zeotwisted
from tests.config.zopeschema import ZOPE_SCHEMA
from zeotwisted.config.client import ClientStorageConfig

#: As plone.recipe.zope2instance writes it when all of its options for ZEO are given.
RECIPE_MADE = """\
<zodb_db main>
    cache-size 40000
    # Blob-enabled ZEOStorage database
    <zeoclient>
      read-only false
      read-only-fallback false
      blob-dir /srv/plone/var/blobstorage
      shared-blob-dir off
      server 127.0.0.1:8100
      server 127.0.0.1:8101
      storage 1
      name zeostorage
      cache-size 128MB
      blob-cache-size 1GB
      blob-cache-size-check 20
      realm ZEO
      username jane
      password secret
      var /srv/plone/var
      client zc1
      min-disconnect-poll 5
      max-disconnect-poll 300
      drop-cache-rather-verify true
    </zeoclient>
    mount-point /
</zodb_db>
"""


def read_storage(imports: str, section: str) -> Any:
    text = "\n".join([*(f"%import {name}" for name in imports.split()), section])
    config, _ = ZConfig.loadConfigFile(ZODB.config.getStorageSchema(), StringIO(text))
    return config.storage


def test_a_recipe_made_file_with_three_lines_changed() -> None:
    changed = "%import zeotwisted\n" + RECIPE_MADE.replace("zeoclient>", "zeotwisted>")
    schema = ZConfig.loadSchemaFile(StringIO(ZOPE_SCHEMA))
    config, _ = ZConfig.loadConfigFile(schema, StringIO(changed))
    section = config.databases[0].config.storage
    assert isinstance(section, ClientStorageConfig)
    assert section.arguments() == (
        [("127.0.0.1", 8100), ("127.0.0.1", 8101)],
        {
            "storage": "1",
            "name": "zeostorage",
            "cache": None,
            "cache_size": 128 * 1024**2,
            "client": "zc1",
            "var": "/srv/plone/var",
            "blob_dir": "/srv/plone/var/blobstorage",
            "shared_blob_dir": False,
            "blob_cache_size": 1024**3,
            "blob_cache_size_check": 20,
            "read_only": False,
            "read_only_fallback": False,
            "server_sync": False,
            "wait_timeout": 30,
            "username": "jane",
            "password": "secret",
            "realm": "ZEO",
        },
    )


def keys(schema: Any, name: str) -> dict[str, Any]:
    return {key: info for key, info in schema.gettype(name) if key}


@pytest.mark.parametrize(("package", "theirs"), [("ZODB", "zeoclient"), ("ZEO", "clientstorage")])
def test_every_key_of_theirs_is_one_of_ours(package: str, theirs: str) -> None:
    without_effect = {"min-disconnect-poll", "max-disconnect-poll", "drop-cache-rather-verify"}
    schemas = [
        ZConfig.loadSchemaFile(StringIO(f'<schema><import package="{name}"/></schema>'))
        for name in (package, "zeotwisted")
    ]
    for ours in ("zeotwisted", "clientstorage"):
        for key, info in keys(schemas[0], theirs).items():
            mine = keys(schemas[1], ours)[key]
            if key in without_effect:
                # They are named when they are set, and so have no default.
                continue
            if not info.ismulti():
                defaults = [each.getdefault() for each in (info, mine)]
                values = [each and each.value for each in defaults]
                # A boolean may be written in several ways.
                words = {"off": "no", "false": "no", "on": "yes", "true": "yes"}
                assert len({words.get(value, value) for value in values}) == 1, key


@pytest.mark.parametrize("imports", ["ZEO zeotwisted.config", "zeotwisted.config ZEO"])
def test_beside_zeos_component(imports: str) -> None:
    ours = read_storage(
        imports,
        "<zeotwisted>\nserver 8100\n<tls>\nserver-hostname zeo\n</tls>\n</zeotwisted>",
    )
    assert isinstance(ours, ClientStorageConfig)
    assert ours.arguments()[1]["ssl_server_hostname"] == "zeo"
    theirs = read_storage(imports, "<clientstorage>\nserver 8100\n</clientstorage>")
    assert type(theirs).__module__ == "ZEO.zconfig"


@pytest.mark.parametrize(
    "imports", ["zeotwisted", "zeotwisted zeotwisted.config", "zeotwisted.config zeotwisted"]
)
@pytest.mark.parametrize("name", ["zeotwisted", "clientstorage"])
def test_both_sections_come_with_the_package(imports: str, name: str) -> None:
    section = read_storage(imports, f"<{name}>\nserver 8100\n</{name}>")
    assert isinstance(section, ClientStorageConfig)


@pytest.mark.parametrize("name", ["zeotwisted", "clientstorage"])
def test_keys_without_effect_are_named_in_one_line(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        "server 127.0.0.1:1",
        "wait off",
        "min-disconnect-poll 5",
        "max-disconnect-poll 9",
    ]
    section = read_storage("zeotwisted", "\n".join([f"<{name}>", *lines, f"</{name}>"]))
    with caplog.at_level(logging.WARNING, "zeotwisted.config"):
        section.open().close()
    assert caplog.messages == [
        f"<{name}>: min-disconnect-poll, max-disconnect-poll: no effect; remove these lines"
    ]


def test_nothing_is_said_where_all_keys_mean_something(caplog: pytest.LogCaptureFixture) -> None:
    section = read_storage("zeotwisted", "<zeotwisted>\nserver 8100\nwait off\n</zeotwisted>")
    with caplog.at_level(logging.WARNING, "zeotwisted.config"):
        section.open().close()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("server 127.0.0.1:0", "write a port from 1 to 65535"),
        ("server two words:8100", "write host:port"),
        (f"server /{'x' * 150}", "cannot be the path of a Unix socket"),
        ("cache-size -1", "write a size such as 20MB"),
        ("blob-cache-size -1MB", "write a size such as 20MB"),
        ("wait-timeout -1", "write a number of seconds"),
        ("wait-timeout nan", "write a number of seconds"),
        ("liveness-timeout -1", "write a number of seconds"),
    ],
)
def test_values_that_can_never_work(line: str, message: str) -> None:
    server = "" if line.startswith("server") else "server 8100\n"
    with pytest.raises(ZConfig.DataConversionError, match=message):
        read_storage("zeotwisted", f"<zeotwisted>\n{server}{line}\n</zeotwisted>")


#: Opens a storage by a configuration, in a process that has not loaded ZEO's client.
OPEN = """
import logging, sys, ZODB.config
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
logging.getLogger("ZEO").disabled = True
ZODB.config.storageFromString(sys.argv[1]).close()
"""


@pytest.mark.parametrize(
    ("imports", "name", "level"),
    [
        (["zeotwisted"], "zeoclient", "WARNING"),
        (["zeotwisted.config"], "zeoclient", "WARNING"),
        (["ZEO", "zeotwisted.config"], "clientstorage", "WARNING"),
        (["zeotwisted"], "zeotwisted", None),
        (["zeotwisted"], "clientstorage", None),
        (["zeotwisted.config", "ZEO"], "zeotwisted", None),
        ([], "zeoclient", None),
    ],
)
def test_zeos_client_beside_ours_is_noticed(
    imports: list[str], name: str, level: str | None
) -> None:
    address, stop = zeotwisted.server()
    try:
        text = "\n".join(
            [f"%import {each}" for each in imports]
            + [f"<{name}>", "server {}:{}".format(*address), f"</{name}>"]
        )
        done = subprocess.run(
            [sys.executable, "-c", OPEN, text], capture_output=True, text=True, timeout=60
        )
    finally:
        stop()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "zeotwisted.config" in line]
    if level is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith(f"{level} zeotwisted.config ZEO's client is about to be used")
        assert line.endswith("write <zeotwisted> and </zeotwisted>")
