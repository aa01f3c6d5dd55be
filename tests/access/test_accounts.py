"""The file with the accounts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zeotwisted.access import (
    AccountFile,
    AccountFileError,
    Verifier,
    read_accounts,
    verifier,
    write_accounts,
)

QUICK = 4096
#: Made with PostgreSQL's format, from the password "pencil" of RFC 7677.
PENCIL = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "accounts")


def test_round_trip(path: str) -> None:
    accounts = {"ben": verifier("b", QUICK), "anna": verifier("a", QUICK)}
    write_accounts(path, accounts)
    assert read_accounts(path) == accounts
    assert list(read_accounts(path)) == ["anna", "ben"]


def test_format_is_that_of_postgresql() -> None:
    parsed = Verifier.parse(PENCIL)
    assert parsed.iterations == 4096
    assert str(parsed) == PENCIL


def test_rfc_7677(path: str) -> None:
    """The example of the RFC: this user and password have this exchange."""
    from scramp import ScramMechanism

    server = ScramMechanism("SCRAM-SHA-256").make_server(
        lambda user: Verifier.parse(PENCIL), s_nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    server.set_client_first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    server.get_server_first()
    server.set_client_final(
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert server.get_server_final() == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_only_the_owner_can_read_it(path: str) -> None:
    write_accounts(path, {})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.chmod(path, 0o644)
    write_accounts(path, {"anna": verifier("a", QUICK)})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_failure_leaves_the_old_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_accounts(path, {"anna": verifier("a", QUICK)})
    before = Path(path).read_text()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_accounts(path, {})
    assert Path(path).read_text() == before
    assert os.listdir(Path(path).parent) == ["accounts"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not a file of accounts"),
        (b"anna\n", "line 1: no SCRAM-SHA-256 verifier"),
        (b"# a comment\n\nanna:secret\n", "line 3: no SCRAM-SHA-256 verifier"),
        (f"a b:{PENCIL}".encode(), "line 1: 'a b' cannot be a user name"),
        (f":{PENCIL}".encode(), "line 1: '' cannot be a user name"),
        (f"anna:{PENCIL}x".encode(), "line 1: no base 64"),
        (PENCIL.replace("SCRAM", "anna:SCRAM").replace("W22ZaJ0S", "").encode(), "line 1"),
        (f"anna:{PENCIL.replace('$4096', '$1')}".encode(), "line 1"),
    ],
)
def test_mistakes(path: str, content: bytes, message: str) -> None:
    Path(path).write_bytes(content)
    with pytest.raises(AccountFileError) as caught:
        read_accounts(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)
    assert "; " in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file(path: str) -> None:
    with pytest.raises(AccountFileError, match="zeotwisted user add"):
        AccountFile(path)


def test_a_changed_file_is_read_again(path: str) -> None:
    anna, ben = verifier("a", QUICK), verifier("b", QUICK)
    write_accounts(path, {"anna": anna})
    accounts = AccountFile(path)
    assert accounts.lookup("ben") is None
    write_accounts(path, {"ben": ben})
    assert accounts.lookup("ben") == ben
    assert accounts.lookup("anna") is None


def test_a_wrong_new_file_leaves_the_old_accounts_in_use(path: str) -> None:
    anna = verifier("a", QUICK)
    write_accounts(path, {"anna": anna})
    accounts = AccountFile(path)
    Path(path).write_text("anna:secret\n")
    assert accounts.lookup("anna") == anna
    assert "line 1" in str(accounts.problem)
    os.remove(path)
    assert accounts.lookup("anna") == anna
    assert "zeotwisted user add" in str(accounts.problem)
    write_accounts(path, {})
    assert accounts.lookup("anna") is None
    assert accounts.problem is None
