"""Visitors over Twisted's TLS who do not even begin to talk."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tls.certificates import Certificates
from zeotwisted.daemon.described import DescribedEndpoint

from .support import Web, web


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Web]:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.server
    text = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    with web(endpoint=lambda reactor: DescribedEndpoint(reactor, text)) as site:
        yield site


def test_a_silent_one_that_is_refused_does_not_stay(
    site: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer would have to wait for the handshake, and that for ever."""
    monkeypatch.setattr("zeotwisted.http.guard._MOST", 0)
    # It may be reset before it is there.
    with suppress(ConnectionResetError), socket.create_connection(site.address, 5) as sock:
        assert sock.recv(1) == b""


def test_a_silent_one_has_to_begin_in_time(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeotwisted.http.guard._ARRIVAL", 0.2)
    with suppress(ConnectionResetError), socket.create_connection(site.address, 5) as sock:
        assert sock.recv(1) == b""
