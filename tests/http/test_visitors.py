"""Who a visitor is, and what he may see."""

from __future__ import annotations

import base64
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint
from ZODB.MappingStorage import MappingStorage

from tests.clientstorage.support import wait_until
from zeotwisted.access import EVERYBODY, Access, AccountFile, verifier, write_accounts
from zeotwisted.http.passwords import Busy, Passwords
from zeotwisted.protocol import Role

from .support import web


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8180", 200),
        ("127.0.0.1:8180", 200),
        ("[::1]:8180", 200),
        ("[::1]", 200),
        ("192.0.2.1", 200),
        (os.uname().nodename.upper(), 200),
        ("zeo.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost:80:80", 421),
        ("", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost\r\nhost: evil.example", 421),
    ],
)
def test_names_of_this_server(host: str, status: int) -> None:
    """A page elsewhere that has its name lead to this machine reads nothing."""
    with web(names=frozenset({"zeo.example"})) as site:
        assert site.get("/metrics", host=host)[0] == status


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    path = tmp_path / "accounts"
    write_accounts(str(path), {"anna": verifier("needle", 4096), "ben": verifier("hay", 4096)})
    return path


def access_of(accounts: Path) -> Access:
    return Access(
        {Role.READ: frozenset({"user:anna"})},
        {"2": {Role.ADMINISTER: frozenset({"user:ben"})}},
        accounts=AccountFile(str(accounts)),
    )


def test_users_with_passwords(accounts: Path) -> None:
    storages = {"1": MappingStorage(), "2": MappingStorage()}
    with web(storages, access_of(accounts)) as site:
        status, headers, _ = site.get("/metrics")
        assert status == 401 and headers["www-authenticate"].startswith("Basic ")
        anna = site.get("/metrics", authorization=basic("anna", "needle"))[2]
        assert 'storage="1"' in anna and 'storage="2"' not in anna
        ben = site.get("/metrics", authorization=basic("ben", "hay"))[2]
        assert 'storage="2"' in ben and 'storage="1"' not in ben
        for wrong in (
            basic("anna", "hay"),
            basic("nobody", "needle"),
            basic("anna", ""),
            basic("anna", "\x00"),
            "Basic !",
            "Basic " + base64.b64encode(b"anna").decode(),
            "Bearer needle",
            "Basic",
        ):
            status, headers, body = site.get("/metrics", authorization=wrong)
            assert status == 401 and "www-authenticate" in headers, wrong
            assert "zeo_" not in body
        assert site.get("/ready")[0] == 200, "for everybody"


def test_a_changed_password_counts_at_once(accounts: Path) -> None:
    with web(access=access_of(accounts)) as site:
        for _ in range(2):
            assert site.get("/metrics", authorization=basic("anna", "needle"))[0] == 200
        write_accounts(str(accounts), {"anna": verifier("new", 4096)})
        assert site.get("/metrics", authorization=basic("anna", "needle"))[0] == 401
        assert site.get("/metrics", authorization=basic("anna", "new"))[0] == 200


def test_guesses_are_slowed_down(accounts: Path) -> None:
    with web(access=access_of(accounts)) as site:
        reactor = site.served.reactor
        passwords = Passwords(AccountFile(str(accounts)), reactor)
        checks: list[Any] = []

        def guess(host: str, password: str) -> None:
            check = Deferred.fromCoroutine(passwords.are_right("anna", password, host))
            check.addCallback(lambda right: checks.append((host, right)))

        for number in range(5):
            site.served.ask(guess, "192.0.2.7", "x")
            wait_until("it is checked", lambda number=number: len(checks) > number)
        for _ in range(9):
            site.served.ask(guess, "192.0.2.7", "needle")
        site.served.ask(guess, "192.0.2.8", "needle")
        wait_until("others are let in", lambda: ("192.0.2.8", True) in checks)
        assert ("192.0.2.7", True) not in checks, "some wait"
        assert 5 < len(checks) < 14, "some are refused at once"


def test_passwords_do_not_pile_up(accounts: Path) -> None:
    with web(access=access_of(accounts)) as site:
        passwords = Passwords(AccountFile(str(accounts)), site.served.reactor)
        checks: list[Any] = []
        failures: list[Any] = []

        def guess(number: int, user: str = "anna") -> None:
            password = "needle" if number else "x"
            check = Deferred.fromCoroutine(passwords.are_right(user, password, f"192.0.2.{number}"))
            check.addCallbacks(checks.append, failures.append)

        def known() -> Any:
            return Deferred.fromCoroutine(passwords.are_right("ben", "hay", "192.0.2.99"))

        assert site.served.ask(known)

        def all_at_once() -> bool:
            for number in range(22):
                guess(number)
            # None is checked before all are there, and this one needs no check.
            known().addCallback(lambda right: checks.append("known"))
            return bool(checks == ["known"])

        assert site.served.ask(all_at_once)
        wait_until("all are checked", lambda: len(checks) == 21)
        assert checks.count(True) == 19
        assert [type(failure.value) for failure in failures] == [Busy] * 2
        site.served.ask(guess, 1)
        wait_until("there is room again", lambda: checks.count(True) == 20)


def test_no_password_without_tls_from_elsewhere(accounts: Path) -> None:
    """A proxy on this machine passes on what came over an open wire."""
    with web(access=access_of(accounts)) as site:
        status, headers, body = site.get(
            "/metrics", authorization=basic("anna", "needle"), x_forwarded_for="192.0.2.1"
        )
        assert status == 403 and "without TLS" in body
        status, headers, _ = site.get("/metrics", x_forwarded_for="192.0.2.1")
        assert status == 403 and "www-authenticate" not in headers


def test_a_user_at_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    me = pwd.getpwuid(os.getuid()).pw_name
    access = Access(
        {Role.READ: frozenset({f"unix-user:{me}"})},
        {"2": {Role.READ: frozenset({"unix-user:somebody"})}},
    )
    storages = {"1": MappingStorage(), "2": MappingStorage()}
    with web(storages, access, endpoint=lambda reactor: UNIXServerEndpoint(reactor, path)) as site:
        body = site.get("/metrics")[2]
        assert 'storage="1"' in body and 'storage="2"' not in body


def test_nobody_without_a_role() -> None:
    access = Access({Role.READ: frozenset({"user:anna"})})
    with web(access=access) as site:
        status, headers, body = site.get("/metrics")
        assert (status, body) == (403, "everybody has no role here\n")
        assert "www-authenticate" not in headers, "there are no accounts"


def test_everybody_may_read() -> None:
    with web(access=Access({Role.READ: frozenset({EVERYBODY})})) as site:
        assert site.get("/metrics")[0] == 200
