"""``zeotwisted certs``: what it makes works with real servers and clients, also with ZEO's."""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import ZEO
from cryptography import x509

from tests.clientstorage.support import World, store
from zeotwisted.commands import main
from zeotwisted.exceptions import ClientDisconnected

OID = bytes(8)


def made(folder: Path, *arguments: str) -> None:
    assert main(["certs", "--folder", str(folder), *arguments]) == 0


def context(folder: Path, name: str) -> ssl.SSLContext:
    found = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    found.verify_flags |= ssl.VERIFY_X509_STRICT
    found.load_cert_chain(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    return found


def section(output: str) -> list[str]:
    """Return the lines of the first section that was printed, which is the server's."""
    lines = output.splitlines()
    return lines[lines.index("<ssl>") : lines.index("</ssl>") + 1]


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
@pytest.mark.parametrize("client", ["zeotwisted", "ZEO"])
def test_all_pairs(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], package: str, client: str
) -> None:
    made(tmp_path, "zeo.example.org", "127.0.0.1", "--client", "web1")
    server = world.server(package, *section(capsys.readouterr().out))
    if client == "ZEO":
        storage = ZEO.client(server.address, ssl=context(tmp_path, "web1"), wait_timeout=20)
        world.callback(storage.close)
    else:
        storage = world.client(server.address, ssl=context(tmp_path, "web1"))
    store(storage, OID, b"data")
    assert storage.load(OID)[0] == b"data"


def test_a_client_is_added_later(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "127.0.0.1")
    server = world.server("zeotwisted", *section(capsys.readouterr().out))
    authority = (tmp_path / "authority.pem").read_bytes()
    made(tmp_path, "--client", "later")
    assert (tmp_path / "authority.pem").read_bytes() == authority
    store(world.client(server.address, ssl=context(tmp_path, "later")), OID, b"data")
    # A client's certificate is none for a server.
    with pytest.raises(ClientDisconnected):
        world.client(server.address, ssl=context(tmp_path, "server"))


def test_defaults_and_permissions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    before = os.umask(0)
    try:
        made(folder)
    finally:
        os.umask(before)
    names = ["authority", "client", "server"]
    assert sorted(os.listdir(folder)) == sorted(
        f"{name}.{kind}" for name in names for kind in ("key", "pem")
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in names:
        assert (folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
    loaded = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    hosts = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in hosts.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in map(str, hosts.get_values_for_type(x509.IPAddress))
    left = loaded.not_valid_after_utc - datetime.now(timezone.utc)
    assert timedelta(days=364) < left < timedelta(days=366)
    assert capsys.readouterr().out.count("<ssl>") == 2


def test_nothing_is_replaced_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, "a.example")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["certs", "--folder", str(tmp_path), "a.example", "--client", "c"]) == 1
    assert capsys.readouterr().err.endswith("or replace it with --force\n")
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    made(tmp_path, "a.example", "--force", "--days", "5")
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"server.pem", "server.key"}


MISTAKES = {
    "host:8100": "'host:8100' is not a host; write a name or an address without a port",
    "1.2.3": "'1.2.3' is not a host",
    "--client ../x": "'../x' cannot be the name of a file and a client; ",
    "--client authority": "there would be two files authority.pem; ",
    "a --client server": "there would be two files server.pem; ",
    "--days 0": "argument --days: '0': write a number of days, from 1 to 36500",
    "--days 9999": "expires on ",
    "--folder /dev/null/x": "/dev/null",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: object = main(["certs", *arguments.split()])
    except SystemExit as error:
        code = error.code
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert MISTAKES[arguments] in line
    assert "; " in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["pem", "key"])
def test_an_authority_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    made(tmp_path)
    (tmp_path / f"authority.{kind}").write_text("nothing")
    assert main(["certs", "--folder", str(tmp_path), "--client", "b"]) == 1
    assert "are not an authority of this command" in capsys.readouterr().err
    (tmp_path / f"authority.{kind}").unlink()
    assert main(["certs", "--folder", str(tmp_path), "--client", "b"]) == 1
    assert f"authority.{kind} is not; put that file back" in capsys.readouterr().err
