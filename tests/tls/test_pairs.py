"""Clients and servers of both kinds, over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import ZEO

from tests.clientstorage.support import World, store

from .certificates import Certificates, ssl_section

OID = b"\0" * 8


def context(
    certificates: Certificates, own: tuple[Path, Path] | None = None, **settings: Any
) -> ssl.SSLContext:
    """Return a client's context."""
    made = ssl.create_default_context(cafile=str(certificates.authority.file))
    if own is not None:
        made.load_cert_chain(*map(str, own))
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
@pytest.mark.parametrize("options", [(), ("msgpack true",)])
def test_our_client(
    world: World, certificates: Certificates, package: str, options: tuple[str, ...]
) -> None:
    server = world.server(package, *certificates.server_section, *options)
    storage = world.client(server.address, ssl=context(certificates, certificates.client))
    store(storage, OID, b"data")
    other = world.client(server.address, ssl=context(certificates, certificates.client))
    assert other.load(OID)[0] == b"data"


@pytest.mark.parametrize("options", [(), ("msgpack true",)])
def test_zeo_client(world: World, certificates: Certificates, options: tuple[str, ...]) -> None:
    server = world.server("zeotwisted", *certificates.server_section, *options)
    storage = ZEO.client(server.address, ssl=context(certificates, certificates.client))
    world.callback(storage.close)
    store(storage, OID, b"data" * 2**20)
    assert storage.load(OID)[0] == b"data" * 2**20


def test_clientstorage_section(world: World, certificates: Certificates, tmp_path: Path) -> None:
    import ZODB.config

    server = world.server("zeotwisted", *certificates.server_section)
    lines = ssl_section(
        certificates.client, certificates.authority.file, "server-hostname zeo.example"
    )
    section = (f"server 127.0.0.1:{server.address[1]}", "wait-timeout 20", *lines)
    text = ("%import zeotwisted", "<clientstorage>", *section, "</clientstorage>")
    storage = ZODB.config.storageFromString("\n".join(text))
    world.callback(storage.close)
    store(storage, OID, b"data")
