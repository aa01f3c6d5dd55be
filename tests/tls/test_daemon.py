"""Daemons that listen with TLS, each a process of its own; and clients that fork."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.support import Script, World, store
from tests.daemon.conftest import Running, commit, daemon, folder, read, run

from .certificates import Certificates, ssl_section
from .test_failures import twisted_options
from .test_pairs import OID, context

__all__ = ["daemon", "folder", "run"]


def test_ssl_endpoint(certificates: Certificates, daemon: Callable[..., Running]) -> None:
    certificate, key = certificates.server
    place = f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}"
    running = daemon("--listen", "tcp:0:interface=127.0.0.1", "--listen", place, listeners=2)
    address = running.addresses[1]
    commit(address, "key", "value" * 10**6, ssl=context(certificates))
    options = twisted_options(certificates, None)
    assert read(address, "key", ssl=options) == "value" * 10**6


def test_password_function(
    world: World, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets_of_test.py").write_text("def password(): return 'open sesame'\n")
    monkeypatch.syspath_prepend(tmp_path)
    files = certificates.authority.issue("locked", "127.0.0.1", password=b"open sesame")
    function = "password-function secrets_of_test.password"
    lines = ssl_section(files, certificates.authority.file, function)
    server = world.server("zeotwisted", *lines, threaded=False)
    client = world.client(server.address, ssl=context(certificates, certificates.client))
    store(client, OID, b"data")


def test_folder_of_clients(world: World, certificates: Certificates, tmp_path: Path) -> None:
    """Whatever the names of the files are."""
    folder = tmp_path / "clients"
    folder.mkdir()
    (folder / "somebody.crt").write_bytes(certificates.authority.file.read_bytes())
    (folder / "README").write_text("who may come in")
    (folder / "a.key").write_bytes(certificates.client[1].read_bytes())
    server = world.server("zeotwisted", *ssl_section(certificates.server, folder))
    world.client(server.address, ssl=context(certificates, certificates.client)).ping()


def test_fork(world: World, certificates: Certificates) -> None:
    server = world.server("zeotwisted", *certificates.server_section)
    store(world.client(server.address, ssl=context(certificates, certificates.client)), OID, b"x")
    script = Script(
        f"""
        import ssl
        from zeotwisted import ClientStorage
        context = ssl.create_default_context(cafile={str(certificates.authority.file)!r})
        context.load_cert_chain(*{tuple(map(str, certificates.client))!r})
        storage = ClientStorage(ADDRESS, ssl=context)
        pid = os.fork()
        if not pid:
            print(storage.load(bytes(8))[0], flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        storage.ping()
        print(storage.load(bytes(8))[0], flush=True)
        storage.close()
        """,
        server.address,
    )
    assert script.succeed().split() == ["b'x'", "b'x'"]
