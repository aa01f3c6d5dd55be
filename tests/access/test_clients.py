"""Real clients, ours and ZEO's, with certificates and at Unix sockets."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO.Exceptions
from ZEO.ClientStorage import ClientStorage as StockStorage
from ZODB import DB
from ZODB.POSException import ReadOnlyError, StorageError

import zeotwisted
from tests.tls.certificates import Certificates, ssl_section
from zeotwisted.config.tls import client_context
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


class _Section:
    """A client's <ssl> section."""

    def __init__(self, files: tuple[Path, Path], authenticate: Path) -> None:
        self.certificate, self.key = map(str, files)
        self.authenticate = str(authenticate)
        self.password_function = self.server_hostname = None
        self.check_hostname = True
