"""Blobs over TLS, whose transports tell in another way when they have sent something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ZEO
from ZODB.utils import p64

from tests.clientstorage.blobs.test_blobs import blob_server, store_blob
from tests.clientstorage.support import World

from .certificates import Certificates
from .test_pairs import context

CONTENT = os.urandom(5_000_003)


@pytest.mark.parametrize(
    ("client", "server"),
    [("zeotwisted", "zeotwisted"), ("zeotwisted", "ZEO"), ("ZEO", "zeotwisted")],
)
def test_up_and_down(
    world: World, certificates: Certificates, tmp_path: Path, client: str, server: str
) -> None:
    address = blob_server(world, tmp_path, server, *certificates.server_section).address
    ssl = context(certificates, certificates.client)
    if client == "ZEO":
        storage = ZEO.client(address, ssl=ssl, blob_dir=str(tmp_path / "cache"))
        world.callback(storage.close)
    else:
        storage = world.client(address, ssl=ssl, blob_dir=str(tmp_path / "cache"))
    tid = store_blob(storage, tmp_path, CONTENT)
    os.remove(storage.loadBlob(p64(1), tid))
    assert Path(storage.loadBlob(p64(1), tid)).read_bytes() == CONTENT
