"""Certificates that are replaced while the daemon runs; and what ``authenticate`` may be."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from ZODB.config import storageFromString

from tests.clientstorage.support import World
from tests.daemon.conftest import Running, commit, daemon, folder, opened, run
from zeotwisted.config.server import parse_server_config
from zeotwisted.daemon.daemon import configured_places
from zeotwisted.daemon.renewal import LOOK, WARN, Renewal
from zeotwisted.daemon.secured import SecuredEndpoint
from zeotwisted.exceptions import ClientDisconnected

from .certificates import Authority, Certificates, ssl_section
from .test_daemon import _conf
from .test_failures import logged
from .test_pairs import context

__all__ = ["daemon", "folder", "run"]


def replace(old: tuple[Path, Path], new: tuple[Path, Path]) -> None:
    for before, after in zip(old, new, strict=True):
        shutil.copy(after, f"{before}.new")
        os.replace(f"{before}.new", before)


def serial(address: Any, certificates: Certificates) -> str:
    """Return the number of the certificate that a server has."""
    import socket

    made = context(certificates, certificates.client)
    with (
        socket.create_connection(address, 10) as sock,
        made.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        found = tls.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


class Watched:
    """The renewal of a daemon with one <ssl> section, in a time of its own."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.clock = Clock()
        text = _conf(certificates.server, certificates.authority.file)
        (place,) = configured_places(self.clock, parse_server_config(text))
        assert isinstance(place.endpoint, SecuredEndpoint)
        self.renewal = Renewal(self.clock, [place.endpoint])
        self.renewal.startService()

    def lines(self, seconds: float) -> list[str]:
        """Return what is logged within some seconds."""
        with logged() as lines:
            for _ in range(int(seconds / LOOK)):
                self.clock.advance(LOOK)
        return [line for line in lines if "127.0.0.1:0: " in line]


def test_only_a_change_is_read_and_only_once(certificates: Certificates) -> None:
    watched = Watched(certificates)
    assert watched.lines(20) == []
    replace(certificates.server, certificates.authority.issue("new", "127.0.0.1"))
    assert watched.lines(LOOK) == []
    (line,) = watched.lines(20)
    assert line == "127.0.0.1:0: the certificates were read again, for new connections"
    watched.renewal.stopService()
    assert watched.clock.getDelayedCalls() == []


def test_a_wrong_file_is_told_once(certificates: Certificates) -> None:
    watched = Watched(certificates)
    certificates.server[0].write_text("nothing")
    (line,) = watched.lines(60)
    assert "the certificates have changed and cannot be used, so the old ones stay in use" in line
    certificates.server[0].unlink()
    assert len(watched.lines(60)) == 1
    replace(certificates.server, certificates.authority.issue("new", "127.0.0.1"))
    (line,) = watched.lines(60)
    assert "were read again" in line


def test_each_day_of_the_last_month_has_a_warning(certificates: Certificates) -> None:
    watched = Watched(certificates)
    with logged() as lines:
        watched.clock.pump([LOOK, WARN, WARN])
    about = [line for line in lines if f"{certificates.server[0]} expires in " in line]
    assert len(about) == 2
    about = [line for line in lines if f" in {certificates.authority.file} expires in " in line]
    assert len(about) == 2


@pytest.mark.timeout(120)
def test_a_running_daemon(
    certificates: Certificates, folder: Path, daemon: Callable[..., Running]
) -> None:
    (folder / "zeo.conf").write_text(_conf(certificates.server, certificates.authority.file))
    running = daemon("-C", "zeo.conf")
    before = serial(running.address, certificates)
    with opened(running.address, ssl=context(certificates, certificates.client)) as connection:
        # Without a signal, it takes some seconds.
        new = certificates.authority.issue("new", "127.0.0.1")
        replace(certificates.server, new)
        _until(running, "were read again")
        second = serial(running.address, certificates)
        assert second != before
        # A wrong file changes nothing.
        certificates.server[1].write_text("nothing")
        running.process.send_signal(signal.SIGHUP)
        _until(running, "cannot be used, so the old ones stay in use")
        assert serial(running.address, certificates) == second
        replace(certificates.server, certificates.authority.issue("third", "127.0.0.1"))
        running.process.send_signal(signal.SIGHUP)
        _until(running, "were read again")
        assert serial(running.address, certificates) not in (before, second)
        # The old connection lives.
        connection.root()["a"] = 1
        import transaction

        transaction.commit()


@pytest.mark.timeout(120)
def test_an_endpoint_of_a_running_daemon(
    certificates: Certificates, folder: Path, daemon: Callable[..., Running]
) -> None:
    """The daemon reads the files of an ``ssl:`` endpoint again, too."""
    file, key = certificates.server
    place = f"ssl:0:interface=127.0.0.1:certKey={file}:privateKey={key}"
    # The first one shows that the daemon is there.
    running = daemon("--listen", "tcp:0:interface=127.0.0.1", "--listen", place, listeners=2)
    _, address = running.addresses
    before = serial(address, certificates)
    replace(certificates.server, certificates.authority.issue("new", "127.0.0.1"))
    _until(running, "were read again")
    second = serial(address, certificates)
    assert second != before
    # A wrong file changes nothing, and is named once; the same for a key that needs a password.
    key.write_text("nothing")
    _until(running, "cannot be used, so the old ones stay in use")
    assert serial(address, certificates) == second
    key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    running.process.send_signal(signal.SIGHUP)
    _until(running, f"{key} is encrypted")
    assert serial(address, certificates) == second
    replace(certificates.server, certificates.authority.issue("third", "127.0.0.1"))
    running.process.send_signal(signal.SIGHUP)
    _until(running, "were read again")
    assert serial(address, certificates) not in (before, second)


def _until(running: Running, text: str) -> None:
    assert running.process.stdout is not None
    while True:
        line = running.process.stdout.readline()
        assert line, running.output
        running.output += line
        if text in line:
            return


# Clients.


def test_a_client_that_connects_again(
    world: World, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It uses what its files contain by then; wrong files leave the old ones in use."""
    caplog.set_level("INFO", "zeotwisted.client")
    new = certificates.authority.issue("new")
    first = _serves(world, certificates, certificates.client[0])
    second = _serves(world, certificates, new[0])
    own = (tmp_path / "own.pem", tmp_path / "own.key")
    replace(own, certificates.client)
    storage = storageFromString(
        f"""
        %import zeotwisted
        <clientstorage>
          server {first[0]}:{first[1]}
          wait-timeout 20
          <ssl>
            certificate {own[0]}
            key {own[1]}
            authenticate {certificates.authority.file}
          </ssl>
        </clientstorage>
        """
    )
    own[1].write_text("nothing")
    for _ in range(2):
        storage._link.protocol().give_up(ClientDisconnected("a test"))
        assert storage._link.protocol(20)
    about = [each for each in caplog.records if "the old ones stay in use" in each.getMessage()]
    assert [each.levelname for each in about] == ["WARNING"]
    assert str(own[0]) in about[0].getMessage()
    # The second server admits the new certificate alone.
    replace(own, new)
    storage.new_addr(second)
    storage._link.protocol().give_up(ClientDisconnected("a test"))
    assert storage._link.protocol(20).connected_to.port == second[1]
    storage.close()


# What authenticate may be.


def _serves(world: World, certificates: Certificates, authenticate: Path | str) -> Any:
    lines = ssl_section(certificates.server, Path("/"))
    lines = tuple(f"authenticate {authenticate}" if "authent" in each else each for each in lines)
    return world.server("zeotwisted", *lines, threaded=False).address


def test_one_signed_certificate_of_a_client(world: World, certificates: Certificates) -> None:
    """It is trusted without its authority; others of the authority are not."""
    address = _serves(world, certificates, certificates.client[0])
    commit(address, "a", 1, ssl=context(certificates, certificates.client))
    other = certificates.authority.issue("other")
    with pytest.raises(ClientDisconnected):
        commit(address, "a", 1, ssl=context(certificates, other))


def test_hashed_folder(world: World, certificates: Certificates, tmp_path: Path) -> None:
    from OpenSSL import crypto

    folder = tmp_path / "hashed"
    folder.mkdir()
    text = certificates.authority.file.read_bytes()
    loaded = crypto.load_certificate(crypto.FILETYPE_PEM, text)
    (folder / f"{loaded.subject_name_hash():08x}.0").write_bytes(text)
    address = _serves(world, certificates, folder)
    commit(address, "a", 1, ssl=context(certificates, certificates.client))


@pytest.mark.parametrize("value", ["SIGNED", "-"])
def test_authorities_of_the_system(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.file))
    address = _serves(world, certificates, value)
    commit(address, "a", 1, ssl=context(certificates, certificates.client))
    stranger: Authority = certificates.stranger()
    with pytest.raises(ClientDisconnected):
        commit(address, "a", 1, ssl=context(certificates, stranger.issue("odd")))


def test_a_client_with_authorities_of_the_system(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ZODB.config

    address = _serves(world, certificates, certificates.authority.file)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.file))
    for value in ("SIGNED", "-"):
        lines = (
            "%import zeotwisted",
            "<zeotwisted>",
            f"server 127.0.0.1:{address[1]}",
            "<tls>",
            f"certificate {certificates.client[0]}",
            f"key {certificates.client[1]}",
            f"authenticate {value}",
            "</tls>",
            "</zeotwisted>",
        )
        storage = ZODB.config.storageFromString("\n".join(lines))
        storage.close()


def test_no_authorities(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    if ssl.create_default_context().cert_store_stats()["x509"]:
        pytest.skip("this system has them elsewhere")
    text = _conf(certificates.server, Path("/")).replace("authenticate /", "authenticate SIGNED")
    with pytest.raises(ValueError, match="no certificates of authorities; install its package"):
        parse_server_config(text)
