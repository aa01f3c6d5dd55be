"""A server does for a client what its roles allow, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.POSException import ReadOnlyError

from tests.ordering.puppets import OID_A, PuppetClient, Server
from tests.protocol import examples
from zeotwisted.access import EVERYBODY, Access, Identity
from zeotwisted.exceptions import AccessDenied
from zeotwisted.protocol import ALL_ROLES, SERVER_CALLS, Role

AFTER_REGISTRATION = [name for name, call in SERVER_CALLS.items() if not call.opening]


def access(*roles: Role, name: str = EVERYBODY) -> Access:
    return Access({role: frozenset({name}) for role in roles})


def client_with(*roles: Role, read_only: bool = False, protocol: bytes = b"") -> PuppetClient:
    client = Server(access=access(*roles)).client(register=False, protocol=protocol)
    client.register(read_only)
    return client


def has_role_for(roles: set[Role], name: str) -> bool:
    """Return whether a client with exactly these roles may make a call."""
    client = Server().client()
    session = client.protocol._connection
    session.roles = frozenset(roles)
    args = (examples.CALLS | examples.EXTENDED_CALLS)[name][0]
    if SERVER_CALLS[name].oneway:
        client.tell("tpc_begin", 7, "", "", {})
        session.transaction = transaction = Refusals()
        client.tell(name, *args)
        return not transaction.errors
    # The arguments are made up, so the call may fail for another reason, or be answered later.
    error = getattr(client.reply(name, *args), "error", None)
    if not isinstance(error, AccessDenied):
        return True
    assert f"needs the role {SERVER_CALLS[name].role}" in str(error)
    return False


class Refusals:
    """Stands in for a transaction, and keeps the refusals of its calls."""

    id = 0
    commit_log: Any = None
    tid = None
    over = False
    has_lock = False

    def __init__(self) -> None:
        from zeotwisted.storageserver.commit import Phase

        self.phase = Phase.COLLECTING
        self.errors: list[Exception] = []

    def expect(self, name: str) -> None:
        raise ValueError(name)

    def fail(self, error: Exception) -> None:
        if isinstance(error, AccessDenied):
            self.errors.append(error)


@pytest.mark.parametrize("name", AFTER_REGISTRATION)
def test_a_call_needs_its_role(name: str) -> None:
    role = SERVER_CALLS[name].role
    if role is not Role.NONE:
        assert not has_role_for(set(ALL_ROLES) - {role}, name)
    assert has_role_for({role}, name)


def test_a_client_without_a_role_is_not_admitted() -> None:
    server = Server(access=access(Role.WRITE, name="user:anna"))
    client = server.client(register=False)
    for read_only in (False, True):
        with pytest.raises(AccessDenied, match="only clients that it knows"):
            client.ask("register", "1", read_only)
    # It learns nothing about the storages that there are.
    with pytest.raises(AccessDenied):
        client.ask("register", "unknown", False)


def test_a_client_of_version_5_is_told_why() -> None:
    server = Server(access=access(Role.WRITE, name="user:anna"))
    client = server.client(register=False, protocol=b"M5")
    with pytest.raises(AccessDenied, match="can only have a certificate"):
        client.ask("register", "1", False)


def test_an_identity_without_a_role_is_told_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Server(access=access(Role.READ, name="user:anna")).client(register=False)
    ben = Identity.of("unix-user:ben")
    monkeypatch.setattr(client.protocol, "identity", lambda: ben)
    with pytest.raises(AccessDenied, match="unix-user:ben has no role for storage '1'"):
        client.ask("register", "1", False)


def test_an_identity_is_in_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Server(access=access(Role.READ, name="unix-user:ben")).client(register=False)
    ben = Identity.of("unix-user:ben")
    monkeypatch.setattr(client.protocol, "identity", lambda: ben)
    client.register(read_only=True)
    assert client.protocol._connection.label == "unix-user:ben at 127.0.0.1:1"
    client.tell("set_client_label", "zope1")
    assert client.protocol._connection.label == "zope1 unix-user:ben at 127.0.0.1:1"


def test_without_the_role_write_a_client_can_only_read() -> None:
    client = Server(access=access(Role.READ)).client(register=False)
    with pytest.raises(ReadOnlyError, match="needs the role write"):
        client.ask("register", "1", False)
    client.ask("register", "1", True)
    assert client.ask("lastTransaction") == b"\0" * 8
    with pytest.raises(AccessDenied, match="everybody may not call new_oids of storage '1'"):
        client.ask("new_oids")


def test_packing_needs_its_own_role_whoever_asks() -> None:
    for protocol in (b"", b"M5"):
        writer = client_with(Role.WRITE, protocol=protocol)
        with pytest.raises(AccessDenied, match="role pack"):
            writer.ask("pack", 1.0, True)
        packer = client_with(Role.PACK, read_only=True, protocol=protocol)
        assert packer.ask("pack", 1.0, True) is None


def test_a_reader_that_could_write_does_not_pack() -> None:
    client = client_with(Role.WRITE, Role.PACK, read_only=True)
    with pytest.raises(ReadOnlyError, match="open it for writing"):
        client.ask("pack", 1.0, True)


def test_a_refused_undo_is_the_error_of_the_vote() -> None:
    client = client_with(Role.WRITE)
    client.tell("tpc_begin", 1, "", "", {})
    client.tell("undoa", b"x", 1)
    with pytest.raises(AccessDenied, match="may not call undoa"):
        client.ask("vote", 1)


def test_a_reader_has_no_part_in_a_transaction_although_it_may_write() -> None:
    client = client_with(Role.ADMINISTER, read_only=True)
    with pytest.raises(ReadOnlyError):
        client.ask("new_oid")


def test_refusals_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    from twisted.logger import globalLogPublisher

    lines: list[str] = []

    def observe(event: Any) -> None:
        if "refused" in event.get("log_format", ""):
            lines.append(f"{event['label']} {event['what']} {event['error']}")

    globalLogPublisher.addObserver(observe)
    try:
        client = client_with(Role.READ, read_only=True)
        for _ in range(50):
            with pytest.raises(AccessDenied):
                client.ask("pack", 1.0)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert 0 < len(lines) <= 10
    assert lines[0].startswith("127.0.0.1:1 pack everybody may not call pack of storage '1'")


def test_a_writer_may_do_what_it_needs() -> None:
    client = client_with(Role.WRITE)
    tid = client.commit(1, OID_A)
    assert client.ask("loadBefore", OID_A, b"\x7f" + b"\xff" * 7)[1] == tid
