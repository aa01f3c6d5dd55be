"""Daemons that listen with TLS, each a process of its own; and clients that fork."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.clientstorage.support import Script, World, store
from tests.daemon.conftest import Running, commit, daemon, folder, read, run
from tests.daemon.test_mistakes import refused
from tests.ordering.puppets import MemoryReactor
from zeotwisted.config.server import parse_server_config
from zeotwisted.daemon.daemon import configured_daemon
from zeotwisted.exceptions import ProtocolError

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


def test_refused_client_is_told_why(world: World, certificates: Certificates) -> None:
    lines = (*certificates.server_section, "connection-limit 1", "address-limit 2")
    server = world.server("zeotwisted", *lines)
    ours = context(certificates, certificates.client)
    world.client(server.address, ssl=ours)
    with pytest.raises(ProtocolError, match=r"too many connections \(connection-limit 1\)"):
        world.client(server.address, ssl=ours)


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


def _conf(files: tuple[Path, Path], authority: Path, *lines: str) -> str:
    section = "\n".join(ssl_section(files, authority, *lines))
    return f"<zeo>\naddress 127.0.0.1:0\n{section}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"


def test_certificate_of_an_endpoint_that_has_expired(
    certificates: Certificates, daemon: Callable[..., Running]
) -> None:
    certificate, key = certificates.authority.issue("old", "127.0.0.1", days=-1)
    place = f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}"
    running = daemon("--listen", "tcp:0:interface=127.0.0.1", "--listen", place, listeners=2)
    assert running.output.count(f"the certificate {certificate} has expired on ") == 1


def test_certificate_of_a_section_that_has_expired(
    certificates: Certificates, tmp_path: Path
) -> None:
    files = certificates.authority.issue("old", "127.0.0.1", days=-1)
    config = parse_server_config(_conf(files, certificates.authority.file))
    daemon = configured_daemon(MemoryReactor(), config)
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        daemon.privilegedStartService()
    finally:
        globalLogPublisher.removeObserver(observe)
        daemon.stopService()
    assert len([line for line in lines if f"{files[0]} has expired on " in line]) == 1


def test_encrypted_key_without_its_password(
    certificates: Certificates, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = certificates.authority.file
    certificate, key = files = certificates.authority.issue("locked", password=b"open sesame")
    (folder / "zeo.conf").write_text(_conf(files, authority))
    assert refused(folder, "zeo", "-C", "zeo.conf").endswith(
        f"<ssl>: key: {key} is encrypted, and no password-function tells its password; "
        "add a line that begins with password-function, or decrypt the key"
    )
    place = f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}"
    assert refused(folder, "zeo", "--listen", place) == (
        f"zeo: --listen {place}: {key} is encrypted; decrypt it, or use --conf with an <ssl> "
        "section that has a password-function"
    )
    (folder / "zeo.conf").write_text(_conf(files, authority, "password-function os.abort_"))
    assert "password-function: os.abort_: " in refused(folder, "zeo", "-C", "zeo.conf")
    (folder / "zeo.conf").write_text(_conf(files, authority, "password-function os.getpid"))
    assert "password-function: os.getpid: TypeError" in refused(folder, "zeo", "-C", "zeo.conf")
