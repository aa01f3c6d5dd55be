"""What a connection proves: real certificates and real Unix sockets."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.tls.certificates import Authority
from zeotwisted.storageserver.connections.proof import certificate_names, process_names

ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def test_names_of_a_certificate(tmp_path: Path) -> None:
    file, _ = Authority(tmp_path).issue("zope1")
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    names = certificate_names(certificate.public_bytes(serialization.Encoding.DER))
    assert names == [
        "certificate:zope1",
        "subject:CN=zope1",
        f"fingerprint:{certificate.fingerprint(hashes.SHA256()).hex()}",
    ]


def test_names_of_a_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        names = process_names(ours)
    assert names[0] == f"unix-user:{ME}"
    assert f"unix-group:{MY_GROUP}" in names


def test_a_user_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(id: int) -> Any:
        raise KeyError(id)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(grp, "getgrgid", unknown)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert process_names(ours) == [f"unix-user:{os.getuid()}", f"unix-group:{os.getgid()}"]
