"""The calls by which a client logs in, at the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scramp import ScramClient
from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface import directlyProvides

from tests.ordering.puppets import PuppetClient, Server
from zeotwisted.access import Access, Identity, Verifier, verifier
from zeotwisted.access.throttle import _FREE, _INTERVAL
from zeotwisted.exceptions import AccessDenied
from zeotwisted.protocol import Role
from zeotwisted.storageserver.connections import credlogin
from zeotwisted.storageserver.connections.logins import Logins

ANNA = frozenset({"user:anna"})


class Known:
    def __init__(self) -> None:
        self.anna = verifier("secret", 4096)

    def lookup(self, user: str) -> Verifier | None:
        return self.anna if user == "anna" else None


def server(accounts: Any = None) -> Server:
    return Server(access=Access({Role.WRITE: ANNA}, accounts=accounts or Known(), realm="here"))


def client(server: Server) -> PuppetClient:
    return server.client(register=False)


def log_in(client: PuppetClient, user: str, password: str) -> None:
    scram = ScramClient(["SCRAM-SHA-256"], user, password)
    scram.set_server_first(client.ask("authenticate", "SCRAM-SHA-256", scram.get_client_first()))
    scram.set_server_final(client.ask("authenticate_final", scram.get_client_final()))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log."""
    found: list[str] = []

    def observe(event: Any) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def test_the_offer() -> None:
    offered = client(server()).ask("capabilities", "1", {"authenticate": {}})
    assert offered["authenticate"] == {
        "mechanisms": ("SCRAM-SHA-256",),
        "required": True,
        "realm": "here",
    }
    assert "authenticate" not in client(Server()).ask("capabilities", "1", {"authenticate": {}})


def test_a_user_that_is_known() -> None:
    anna = client(server())
    log_in(anna, "anna", "secret")
    anna.ask("register", "1", False)
    session = anna.protocol._connection
    assert session.identity == Identity.of("user:anna")
    assert session.label == "user:anna at 127.0.0.1:1"


def test_calls_in_another_order() -> None:
    anna = client(server())
    with pytest.raises(AccessDenied, match="a proof without a challenge"):
        anna.ask("authenticate_final", "c=biws,r=x,p=AA==")
    anna.ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")
    with pytest.raises(AccessDenied):
        anna.ask("register", "1", False)
    # A challenge can be answered once.
    for _ in range(2):
        with pytest.raises(AccessDenied):
            anna.ask("authenticate_final", "c=biws,r=x,p=AA==")


def test_a_server_without_accounts() -> None:
    with pytest.raises(AccessDenied, match="has no accounts"):
        client(Server()).ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")


def test_guesses_are_slowed_down_counted_and_logged_once(lines: list[str]) -> None:
    served = server()
    for number in range(_FREE):
        with pytest.raises(AccessDenied, match="wrong user name or password"):
            log_in(client(served), "anna", f"guess {number}")
    assert served.factory.clients.logins.failures == _FREE
    anna = client(served)
    scram = ScramClient(["SCRAM-SHA-256"], "anna", "secret")
    scram.set_server_first(anna.ask("authenticate", "SCRAM-SHA-256", scram.get_client_first()))
    call = anna.send("authenticate_final", scram.get_client_final())
    served.clock.advance(_INTERVAL - 0.1)
    assert anna.received() == []
    served.clock.advance(0.2)
    ((kind, id, _),) = anna.received()
    assert (kind, id) == ("reply", call)
    lost = client(served)
    lost.ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")
    lost.send("authenticate_final", "c=biws,r=x,p=AA==")
    lost.lose()
    served.clock.advance(10)
    about = [line for line in lines if "could not log in as 'anna'" in line]
    assert 0 < len(about) <= 5
    assert f"failures from this host: {len(about)}" in about[-1]
    assert "guess" not in "".join(lines)


def test_guesses_at_the_same_time_are_slowed_down_too() -> None:
    """All connections have their challenges before the first guess fails."""
    served = server()
    guessers = [client(served) for _ in range(50)]
    for each in guessers:
        each.ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")
    for each in guessers:
        each.send("authenticate_final", "c=biws,r=x,p=AA==")
    errors = [str(event[2]) for each in guessers for event in each.received()]
    assert errors.count("wrong user name or password") == _FREE
    refused = [error for error in errors if "too many attempts to log in" in error]
    assert len(refused) > 30
    assert len(errors) == _FREE + len(refused), "a few wait for their turn"


def test_accounts_that_fail(lines: list[str]) -> None:
    class Broken:
        def lookup(self, user: str) -> Verifier | None:
            raise OSError("cannot connect to postgres://zeo:n33dle@db")

    with pytest.raises(AccessDenied, match="cannot check accounts now") as told:
        client(server(Broken())).ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")
    assert "n33dle" not in repr(told.value)
    assert "the accounts cannot be checked" in "".join(lines)


# twisted.cred


def test_a_checker_of_twisted_cred() -> None:
    served = server(InMemoryUsernamePasswordDatabaseDontUse(anna=b"secret"))
    anna = client(served)
    log_in(anna, "anna", "secret")
    anna.ask("register", "1", False)
    assert anna.protocol._connection.identity == Identity.of("user:anna")
    for user, password in (("anna", "wrong"), ("ben", "secret"), ("ben", "")):
        with pytest.raises(AccessDenied, match="wrong user name or password"):
            log_in(client(served), user, password or "x")
    assert served.factory.clients.logins.failures == 3


def test_a_checker_that_fails() -> None:
    class Broken:
        def requestAvatarId(self, credentials: Any) -> Any:
            raise OSError("cannot connect to postgres://zeo:n33dle@db")

    broken = Broken()
    directlyProvides(broken, ICredentialsChecker)
    with pytest.raises(AccessDenied, match="cannot check accounts now") as told:
        log_in(client(server(broken)), "anna", "secret")
    assert "n33dle" not in repr(told.value)


def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derived: list[str] = []
    derive = credlogin.verifier

    def watched(password: str, *args: Any) -> Any:
        derived.append(password)
        return derive(password, *args)

    monkeypatch.setattr(credlogin, "verifier", watched)
    for user in ("anna", "nobody"):
        with pytest.raises(AccessDenied, match="wrong user name or password"):
            log_in(
                client(server(InMemoryUsernamePasswordDatabaseDontUse(anna=b"secret"))), user, "x"
            )
    assert derived == ["secret", "no password"]


def test_a_checker_names_the_identity() -> None:
    class Directory:
        """A checker that knows users by other names than they log in with."""

        def requestAvatarId(self, credentials: Any) -> Any:
            assert credentials.username == b"a.nna"
            assert not credentials.checkPassword("wrong")
            assert credentials.checkPassword(b"secret")
            return succeed("anna")

    directory = Directory()
    directlyProvides(directory, ICredentialsChecker)
    anna = client(server(directory))
    log_in(anna, "a.nna", "secret")
    anna.ask("register", "1", False)


def test_a_checker_that_does_not_check() -> None:
    class Careless:
        def requestAvatarId(self, credentials: Any) -> Any:
            return credentials.username

    careless = Careless()
    directlyProvides(careless, ICredentialsChecker)
    with pytest.raises(AccessDenied):
        log_in(client(server(careless)), "anna", "whatever")


def test_a_network_of_ipv6_addresses_is_one_host() -> None:
    class From:
        label = ""

        def __init__(self, host: str) -> None:
            self.host = host

        def admit(self, *_: Any, **__: Any) -> bool:
            return False

    clock = Clock()
    logins = Logins(clock)
    for number in range(_FREE):
        logins.failed(From(f"2001:db8::{number}"), "", "anna")  # type: ignore[arg-type]
    waits = logins.turn(From("2001:db8::ffff"))  # type: ignore[arg-type]
    assert not waits.called
    assert logins.turn(From("2001:db8:1::1")).called  # type: ignore[arg-type]
    clock.advance(_INTERVAL)
    assert waits.called


def test_a_client_that_goes_while_it_waits_has_not_failed() -> None:
    served = server()
    for number in range(_FREE):
        with pytest.raises(AccessDenied):
            log_in(client(served), "anna", f"guess {number}")
    anna = client(served)
    anna.ask("authenticate", "SCRAM-SHA-256", "n,,n=anna,r=x")
    # Its proof is not looked at any more.
    anna.send("authenticate_final", "c=biws,r=x,p=AA==")
    anna.lose()
    served.clock.advance(_INTERVAL)
    assert served.factory.clients.logins.failures == _FREE
