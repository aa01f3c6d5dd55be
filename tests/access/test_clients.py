"""Real clients, ours and ZEO's, with certificates and at Unix sockets."""

from __future__ import annotations

import logging
import os
import pwd
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO.Exceptions
from twisted.logger import globalLogPublisher
from ZEO.ClientStorage import ClientStorage as StockStorage
from ZODB import DB
from ZODB.POSException import ReadOnlyError, StorageError

import zeotwisted
from tests.tls.certificates import Certificates, ssl_section
from zeotwisted.access import verifier, write_accounts
from zeotwisted.clientstorage.connection import authentication
from zeotwisted.config import ConfigurationError
from zeotwisted.config.tls import client_context
from zeotwisted.config.uri import resolve
from zeotwisted.exceptions import AccessDenied

ME = pwd.getpwuid(os.getuid()).pw_name

#: How long (seconds) a client may wait for a server that admits it. A refusal comes much earlier.
PATIENCE = 20

Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with these lines in its <zeo> section; return its address."""
    stops: list[Callable[[], None]] = []

    def start(*lines: str) -> Any:
        conf = "\n".join(["<zeo>", *lines, "</zeo>", ""])
        address, stop = zeotwisted.server(zeo_conf=conf)
        stops.append(stop)
        return address

    yield start
    for stop in stops:
        stop()


def access(*lines: str, storage: str = "") -> tuple[str, ...]:
    return (f"<access {storage}>".replace(" >", ">"), *lines, "</access>")


def commit(storage: Any) -> None:
    """Commit a change of the root object."""
    with closing(DB(storage)) as database:
        connection = database.open()
        connection.root()["x"] = time.time()
        transaction.commit()


def test_a_process_at_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    address = serve(f"address {tmp_path}/zeo", *access(f"write unix-user:{ME}"))
    commit(zeotwisted.ClientStorage(address))
    commit(StockStorage(address))


def test_another_user_is_refused_at_once(serve: Serve, tmp_path: Path) -> None:
    address = serve(f"address {tmp_path}/zeo", *access("write unix-user:somebody-else"))
    begin = time.monotonic()
    with pytest.raises(AccessDenied, match=f"unix-user:{ME} has no role for storage '1'"):
        zeotwisted.ClientStorage(address, wait_timeout=PATIENCE)
    assert time.monotonic() - begin < PATIENCE / 2


def test_a_client_of_zeo_without_a_role(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = serve(f"address {tmp_path}/zeo", *access("write unix-user:somebody-else"))
    with pytest.raises(ZEO.Exceptions.ClientDisconnected):
        StockStorage(address, wait_timeout=1)
    assert f"unix-user:{ME} has no role for storage '1'" in caplog.text


def test_a_client_that_proves_nothing(serve: Serve) -> None:
    address = serve("address 127.0.0.1:0", *access("write certificate:zope"))
    with pytest.raises(AccessDenied, match="admits only clients that it knows"):
        zeotwisted.ClientStorage(address, wait_timeout=PATIENCE)


def test_certificates(serve: Serve, certificates: Certificates) -> None:
    writer, reader, stranger = (
        certificates.authority.issue(name) for name in ("writer", "reader", "stranger")
    )
    address = serve(
        "address 127.0.0.1:0",
        *ssl_section(certificates.server, certificates.authority.file),
        *access("write certificate:writer", "read subject:CN=reader"),
    )

    def context(files: tuple[Path, Path]) -> Any:
        return client_context(_Section(files, certificates.authority.file))[0]

    for make in (zeotwisted.ClientStorage, StockStorage):
        commit(make(address, ssl=context(writer)))
        with closing(make(address, ssl=context(reader), read_only=True)) as storage:
            storage.load(b"\0" * 8)
    fallback = {"ssl": context(reader), "read_only_fallback": True}
    with closing(zeotwisted.ClientStorage(address, **fallback)) as storage:
        assert storage.is_read_only()
    with pytest.raises(StorageError, match="certificate:reader may not write to storage '1'"):
        zeotwisted.ClientStorage(address, ssl=context(reader), wait_timeout=PATIENCE)
    with pytest.raises(AccessDenied, match="certificate:stranger has no role"):
        zeotwisted.ClientStorage(address, ssl=context(stranger), wait_timeout=PATIENCE)


def test_a_role_for_one_storage(serve: Serve, tmp_path: Path) -> None:
    address = serve(f"address {tmp_path}/zeo", *access(f"read unix-user:{ME}", storage="1"))
    with closing(zeotwisted.ClientStorage(address, read_only=True)) as storage:
        with pytest.raises(ReadOnlyError):
            storage.tpc_begin(transaction.get())
        with pytest.raises(AccessDenied, match="it needs the role pack"):
            storage.pack()


def test_a_client_that_may_only_pack(serve: Serve, tmp_path: Path) -> None:
    address = serve(f"address {tmp_path}/zeo", *access(f"pack unix-user:{ME}"))
    with closing(zeotwisted.ClientStorage(address, read_only=True)) as storage:
        storage.pack()
        with pytest.raises(AccessDenied, match="may not call loadBefore of storage '1'"):
            storage.load(b"\0" * 8)
    with closing(StockStorage(address, read_only=True)) as storage:
        storage.pack(wait=True)


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    """A file with the accounts of anna (secret) and ben (b3n)."""
    path = tmp_path / "accounts"
    write_accounts(str(path), {"anna": verifier("secret", 4096), "ben": verifier("b3n", 4096)})
    return path


def test_passwords(serve: Serve, accounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = serve(
        "address 127.0.0.1:0", f"accounts {accounts}", *access("write user:anna", "read user:ben")
    )
    commit(zeotwisted.ClientStorage(address, username="anna", password="secret"))
    file = accounts.with_name("password")
    file.write_text("secret\nanother line\n")
    commit(zeotwisted.ClientStorage(address, username="anna", password_file=str(file)))
    monkeypatch.setenv("ZEO_PASSWORD", "b3n")
    zeotwisted.ClientStorage(address, username="ben", read_only=True).close()
    with pytest.raises(StorageError, match="user:ben may not write"):
        zeotwisted.ClientStorage(address, username="ben")
    begin = time.monotonic()
    for user, password in (("anna", "wrong"), ("carl", "secret")):
        with pytest.raises(AccessDenied, match=r"^wrong user name or password$"):
            zeotwisted.ClientStorage(
                address, username=user, password=password, wait_timeout=PATIENCE
            )
    with pytest.raises(AccessDenied, match="admits only clients that it knows"):
        zeotwisted.ClientStorage(address, wait_timeout=PATIENCE)
    assert time.monotonic() - begin < PATIENCE / 2
    with pytest.raises(ZEO.Exceptions.ClientDisconnected):
        StockStorage(address, wait_timeout=1)


def test_passwords_over_tls_are_bound_to_the_certificate(
    serve: Serve, accounts: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve(
        "address 127.0.0.1:0",
        f"accounts {accounts}",
        *ssl_section(certificates.server, certificates.authority.file),
        *access("write user:anna"),
    )
    used: list[str] = []
    create = authentication.ScramClient

    def watched(*args: Any) -> Any:
        scram = create(*args)
        used.append(scram.mechanism_name)
        return scram

    monkeypatch.setattr(authentication, "ScramClient", watched)
    section = _Section(certificates.client, certificates.authority.file)
    options = {"ssl": client_context(section)[0], "username": "anna", "password": "secret"}
    commit(zeotwisted.ClientStorage(address, **options))
    assert used == ["SCRAM-SHA-256-PLUS"]
    # The client sees another certificate than the server has: somebody is in between.
    monkeypatch.setattr(authentication, "peer_certificate", lambda *_, **__: other)
    other = ssl.PEM_cert_to_DER_cert(certificates.client[0].read_text())
    with pytest.raises(AccessDenied, match="wrong user name or password"):
        zeotwisted.ClientStorage(address, **options)


def test_a_realm(serve: Serve, accounts: Path) -> None:
    address = serve(
        "address 127.0.0.1:0", f"accounts {accounts}", "realm here", *access("write user:anna")
    )
    credentials = {"username": "anna", "password": "secret"}
    commit(zeotwisted.ClientStorage(address, realm="here", **credentials))
    with pytest.raises(AccessDenied, match="the server's realm is 'here', not 'there'"):
        zeotwisted.ClientStorage(address, realm="there", **credentials)


def test_a_server_without_accounts_ignores_a_user_name(serve: Serve) -> None:
    """Plone's recipes write these keys, and servers of ZEO ignore them, too."""
    credentials = {"username": "anna", "password": "secret", "realm": "ZEO"}
    commit(zeotwisted.ClientStorage(serve("address 127.0.0.1:0"), **credentials))


def test_a_changed_file_is_used_at_the_next_connection(serve: Serve, accounts: Path) -> None:
    address = serve("address 127.0.0.1:0", f"accounts {accounts}", *access("write user:anna"))
    write_accounts(str(accounts), {"anna": verifier("changed", 4096)})
    with pytest.raises(AccessDenied):
        zeotwisted.ClientStorage(address, username="anna", password="secret")
    commit(zeotwisted.ClientStorage(address, username="anna", password="changed"))


def test_accounts_that_nobody_needs(tmp_path: Path, accounts: Path, serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="there is no section <access>; add one"):
        serve("address 127.0.0.1:0", f"accounts {accounts}")
    with pytest.raises(ConfigurationError, match=r"accounts: .*/nowhere: No such file"):
        serve("address 127.0.0.1:0", f"accounts {tmp_path}/nowhere", *access())


def test_no_password_is_ever_written(
    serve: Serve, accounts: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The needle is neither in a log of ours or Twisted's, nor in an exception or a repr."""
    needle = "n33dle"
    write_accounts(str(accounts), {"anna": verifier(needle, 4096)})
    address = serve("address 127.0.0.1:0", f"accounts {accounts}", *access("write user:anna"))
    texts: list[str] = []

    def observe(event: Any) -> None:
        texts.append(repr(event))

    globalLogPublisher.addObserver(observe)
    try:
        with caplog.at_level(logging.DEBUG):
            for user in ("anna", "ben"):
                for password in (needle, needle + "x"):
                    try:
                        storage = zeotwisted.ClientStorage(
                            address, username=user, password=password
                        )
                    except AccessDenied as error:
                        texts.append(repr(error))
                    else:
                        texts += [repr(storage), repr(vars(storage)), str(storage)]
                        texts.append(repr(storage._link.target))
                        storage.close()
            for wrong in ({"username": 5}, {"username": "", "realm": "x"}, {"wait_timeout": "x"}):
                options: Any = {"username": "anna", "password": needle} | wrong
                with pytest.raises(ValueError) as caught:
                    zeotwisted.ClientStorage(address, **options)
                texts.append(repr(caught.value))
            with pytest.raises(ConfigurationError) as refused:
                resolve(f"zeotwisted://host:99999?username=anna&password={needle}")
            texts.append(repr(refused.value))
    finally:
        globalLogPublisher.removeObserver(observe)
    assert "wrong user name or password" in "".join(texts)
    assert needle not in "".join(texts) + caplog.text


class _Section:
    """A client's <ssl> section."""

    def __init__(self, files: tuple[Path, Path], authenticate: Path) -> None:
        self.certificate, self.key = map(str, files)
        self.authenticate = str(authenticate)
        self.password_function = self.server_hostname = None
        self.check_hostname = True


def test_roles_of_one_address(serve: Serve, tmp_path: Path) -> None:
    """At TCP everybody may read; at the socket, one user may write."""
    stop: Callable[[], None]
    lines = (
        "address 127.0.0.1:0",
        *access("read everybody"),
        "<listen>",
        f"address {tmp_path}/zeo",
        *access(f"write unix-user:{ME}"),
        "</listen>",
    )
    address, stop = zeotwisted.server(zeo_conf="\n".join(["<zeo>", *lines, "</zeo>"]))
    try:
        commit(zeotwisted.ClientStorage(f"{tmp_path}/zeo"))
        with pytest.raises(StorageError, match="everybody may not write"):
            zeotwisted.ClientStorage(address)
        with closing(zeotwisted.ClientStorage(address, read_only=True)) as storage:
            storage.load(b"\0" * 8)
    finally:
        stop()
