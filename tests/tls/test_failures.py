"""Handshakes that fail: the client's caller and both logs tell why, and at once."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import ssl as twisted_ssl
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.clientstorage.support import SOON, World, wait_until
from zeotwisted.config import listeners as config_listeners
from zeotwisted.exceptions import ClientDisconnected, ProtocolError
from zeotwisted.transport import tls

from .certificates import Certificates, ssl_section
from .test_pairs import context

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextmanager
def logged() -> Iterator[list[str]]:
    """Yield what Twisted logs, which is the server's log."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def twisted_options(
    certificates: Certificates, own: tuple[Path, Path] | None, hostname: str = "127.0.0.1"
) -> Any:
    """Return a client's options, in Twisted's form."""
    load = twisted_ssl.Certificate.loadPEM
    authority = load(certificates.authority.file.read_bytes())
    return twisted_ssl.optionsForClientTLS(
        hostname,
        trustRoot=twisted_ssl.trustRootFromCertificates([authority]),
        clientCertificate=None if own is None else private(own),
    )


def private(files: tuple[Path, Path]) -> Any:
    text = b"".join(file.read_bytes() for file in files)
    return twisted_ssl.PrivateCertificate.loadPEM(text)


Case = Callable[[Certificates], dict[str, Any]]

#: What the client does -> what the client is told, and what the server's log says.
REFUSED: dict[str, tuple[Case, str, str]] = {
    "server of a strange authority": (
        lambda c: {"ssl": ssl.create_default_context()},
        "certificate of the server is not accepted: .*in certificate chain",
        "client does not know who signed the certificate of the server",
    ),
    "another host": (
        lambda c: {"ssl": context(c, c.client), "ssl_server_hostname": "other.example"},
        "not accepted: Hostname mismatch, certificate is not valid for 'other.example'",
        "client does not accept the certificate of the server; it may be for another host",
    ),
    "no client certificate": (
        lambda c: {"ssl": context(c)},
        "client has no certificate that the server asks for",
        "client has no certificate that the server asks for",
    ),
    "no client certificate, TLS 1.2": (
        lambda c: {"ssl": context(c, maximum_version=V1_2)},
        "the server refuses: handshake failure",
        "client has no certificate that the server asks for",
    ),
    "client of a strange authority": (
        lambda c: {"ssl": context(c, c.stranger().issue("odd"))},
        "server does not know who signed the certificate of the client",
        "certificate of the client is not accepted: unable to get local issuer certificate",
    ),
    "client's certificate has expired": (
        lambda c: {"ssl": context(c, c.authority.issue("old", days=-1))},
        "server says that the certificate of the client has expired",
        "certificate of the client is not accepted: certificate has expired",
    ),
    "Twisted: another host": (
        lambda c: {"ssl": twisted_options(c, c.client, "other.example")},
        "certificate of the server is not accepted: it is not for other.example",
        "client closed the connection; it may not accept the certificate of the server",
    ),
    "Twisted: no client certificate": (
        lambda c: {"ssl": twisted_options(c, None)},
        "client has no certificate that the server asks for",
        "client has no certificate that the server asks for",
    ),
    "Twisted: options that know no host": (
        lambda c: {
            "ssl": twisted_ssl.CertificateOptions(
                trustRoot=twisted_ssl.trustRootFromCertificates(
                    [twisted_ssl.Certificate.loadPEM(c.authority.file.read_bytes())]
                )
            ),
            "ssl_server_hostname": "other.example",
        },
        "certificate of the server is not accepted: it is not for other.example",
        "client closed the connection; it may not accept the certificate of the server",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(
    world: World, certificates: Certificates, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, at_client, at_server = REFUSED[name]
    server = world.server("zeotwisted", *certificates.server_section)
    with logged() as lines:
        started = time.monotonic()
        with pytest.raises(ClientDisconnected, match=f"TLS handshake failed: .*{at_client}"):
            world.client(server.address, **make(certificates))
        assert time.monotonic() - started < SOON / 2
        wait_until("the server has logged it", lambda: re.search(at_server, "\n".join(lines)))
    assert re.search(f"no connection: .*TLS handshake failed: .*{at_client}", caplog.text)


def test_expired_server(world: World, certificates: Certificates) -> None:
    old = certificates.authority.issue("old", "127.0.0.1", days=-1)
    server = world.server("zeotwisted", *ssl_section(old, certificates.authority.file))
    with logged() as lines:
        with pytest.raises(ClientDisconnected, match="not accepted: certificate has expired"):
            world.client(server.address, ssl=context(certificates, certificates.client))
        wait_until("the server has logged it", lambda: "of the server has expired" in str(lines))


def test_no_version_in_common(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config_listeners.server_context

    def modern(section: Any) -> ssl.SSLContext:
        own = made(section)
        own.minimum_version = V1_3
        return own

    monkeypatch.setattr(config_listeners, "server_context", modern)
    server = world.server("zeotwisted", *certificates.server_section)
    with logged() as lines:
        with pytest.raises(ClientDisconnected, match="no version of TLS in common"):
            world.client(server.address, ssl=context(certificates, maximum_version=V1_2))
        wait_until("it has logged it", lambda: "no version of TLS in common" in str(lines))


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
@pytest.mark.parametrize("kind", ["standard", "Twisted's"])
def test_server_without_tls(
    world: World, certificates: Certificates, package: str, kind: str
) -> None:
    server = world.server(package)
    make = context if kind == "standard" else twisted_options
    with (
        logged() as lines,
        pytest.raises(ClientDisconnected, match="what the server sent is not TLS; is it a server"),
    ):
        world.client(server.address, ssl=make(certificates, certificates.client))
    if package == "zeotwisted":
        assert "which is TLS; both ends have to use it, or none" in "\n".join(lines)


def test_client_without_tls(
    world: World, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_HANDSHAKE_TIMEOUT", 0.1)
    server = world.server("zeotwisted", *certificates.server_section)
    with logged() as lines:
        with pytest.raises(ProtocolError, match="which is TLS; both ends"):
            world.client(server.address)
        # The client may notice it first.
        why = "did not begin it within 0.1 seconds; does it connect without TLS?"
        wait_until("the server says why", lambda: why in "\n".join(lines))


def test_zeo_server_that_wants_a_certificate(world: World, certificates: Certificates) -> None:
    """It closes the connection and says nothing, as if it had been stopped."""
    server = world.server("ZEO", *certificates.server_section)
    with pytest.raises(ClientDisconnected, match="it may not accept the client's certificate"):
        world.client(server.address, ssl=context(certificates), wait_timeout=0.5)


def test_a_server_that_is_stopped_in_mid_handshake_is_waited_for(
    world: World, certificates: Certificates
) -> None:
    stranger = world.stranger(hangs_up=True)
    with pytest.raises(ClientDisconnected, match=r"within 0\.3 seconds"):
        world.client(stranger.address, ssl=context(certificates), wait_timeout=0.3)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"ssl": object()}, TypeError, "must be an ssl.SSLContext"),
        ({"ssl_server_hostname": "x"}, ValueError, "of no use without ssl"),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, ValueError, "for servers"),
        (
            {"ssl": twisted_ssl.optionsForClientTLS("x"), "ssl_server_hostname": "x"},
            ValueError,
            "give the name to optionsForClientTLS",
        ),
    ],
)
def test_arguments(
    world: World, arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        world.client(("127.0.0.1", 1), **arguments)


def test_no_name_to_check(world: World, certificates: Certificates, tmp_path: Path) -> None:
    path = str(tmp_path / "zeo.sock")
    server = world.server("zeotwisted", *certificates.server_section, address=path)
    with pytest.raises(ClientDisconnected, match="give ssl_server_hostname"):
        world.client(server.address, ssl=context(certificates, certificates.client))
    world.client(
        server.address,
        ssl=context(certificates, certificates.client),
        ssl_server_hostname="zeo.example",
    ).ping()
