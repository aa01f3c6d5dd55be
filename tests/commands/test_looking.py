"""Commands that look at a daemon, with a real one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.daemon.conftest import ANYWHERE, TIMEOUT, Running, commit, environment
from tests.storageserver.conftest import RawClient

from .conftest import Commands, ended, place

pytestmark = pytest.mark.timeout(90)

Daemon = Callable[..., Running]


def test_serve_is_the_daemon_in_the_foreground(
    run: Callable[..., Running], folder: Path, command: Commands
) -> None:
    running = run(sys.executable, "-m", "zeotwisted", "serve", *ANYWHERE, "--file", "Data.fs")
    commit(running.address, "x", 1)
    assert command("ping", place(running.address)).code == 0
    assert not (folder / "twistd.pid").exists()
    assert running.stop(signal.SIGINT) == 0


def test_serve_has_the_options_of_twistd_zeo(command: Commands) -> None:
    result = command("serve", "--help")
    assert result.code == 0 and "--invalidation-queue-size" in result.output
    assert result.output.startswith("Usage: zeotwisted serve [options]\n")
    result = command("serve", "--nonsense")
    assert result.code == 1
    assert result.errors == (
        "zeo: option --nonsense not recognized; `zeotwisted serve --help` lists the options\n"
    )


def test_status(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--storage", "temp=Temp.fs")
    commit(running.address, "x", 1)
    address = place(running.address)
    result = command("status", address)
    assert result.code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith(f"{address}: answers in ")
    assert [line for line in lines if line.startswith("storage ")] == [
        line for line in lines if line.startswith(("storage 1: 0 clients", "storage temp: 0 cl"))
    ]
    assert "commits 2" in result.output and "last transaction: none yet" in result.output
    data = json.loads(command("status", address, "--json").output)
    assert set(data["storages"]) == {"1", "temp"} and data["storages"]["1"]["commits"] == 2


def test_status_live(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    live = ("status", place(running.address), "--live", "--interval", "0.05")
    result = command(*live, "--count", "3")
    assert result.code == 0
    assert result.output.count("answers in") == 3 and result.output.count("(0.0/s)") == 12
    assert "\x1b" not in result.output, "this is no terminal"
    assert result.errors == ""
    endless = command.start(*live)
    assert endless.stdout is not None
    assert "answers in" in endless.stdout.readline()
    endless.send_signal(signal.SIGINT)
    assert ended(endless).code == 0


def test_live_while_the_server_goes(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    live = command.start("status", place(running.address), "--live", "--interval", "0.05")
    assert live.stdout is not None
    assert "answers in" in live.stdout.readline()
    running.stop()
    result = ended(live)
    assert result.code == 1 and "start the server, or correct the address" in result.errors


def test_ping(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    address = place(running.address)
    result = command("ping", address, "--count", "3")
    assert result.code == 0
    assert result.output.startswith(f"{address} (storage 1, protocol M6): connected in ")
    assert "3 round trips" in result.output
    data = json.loads(command("ping", address, "--json").output)
    assert data["count"] == 10 and 0 < data["least"] <= data["median"] <= data["most"]
    assert "--count: write a number" in command.fails("ping", address, "--count", "0")


def voting(address: tuple[str, int], number: int) -> RawClient:
    """Return a client whose vote is under way."""
    client = RawClient(address)
    client.ask("register", "1", False)
    client.socket.sendall(client.session.oneway("set_client_label", f"shop{number}"))
    client.socket.sendall(client.session.oneway("tpc_begin", 7, "anna", "order\x1b[2J", {}))
    client.socket.sendall(client.session.oneway("storea", p64(number), None, b"record", 7))
    client.socket.sendall(client.session.call(2, "vote", 7))
    return client


def test_find_who_holds_the_lock_and_disconnect_him(daemon: Daemon, command: Commands) -> None:
    """The operator's day."""
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    address = place(running.address)
    with (
        closing(zeotwisted.client(running.address, wait_timeout=TIMEOUT)) as watcher,
        closing(voting(running.address, 1)) as holder,
    ):
        wait_until("one holds it", lambda: watcher.steer("server_locks")["holders"])
        with closing(voting(running.address, 2)):
            wait_until("one waits", lambda: watcher.steer("server_locks")["waiting"])
            lines = command("locks", address).output.splitlines()
            assert lines[0].split() == ["NUMBER", "STATE", "FOR", "CLIENT"]
            number, held = lines[1].split(None, 1)
            assert held.startswith("holds it") and "shop1" in held
            assert "waits" in lines[2] and "shop2" in lines[2]
            shown = command("clients", address)
            assert (
                shown.code == 0 and "anna order [2J" in shown.output and "\x1b" not in shown.output
            )
            assert [line.split()[:2] for line in shown.output.splitlines()[1:3]] == [
                [number, "shop1"],
                [lines[2].split()[0], "shop2"],
            ]
            (mine,) = [
                each
                for each in json.loads(command("clients", address, "--json").output)["clients"]
                if each["label"] == "shop1"
            ]
            assert mine["number"] == int(number) and mine["transaction"]["user"] == "anna"
            gone = command("disconnect", address, number, "--reason", "it blocks the shop")
            assert (gone.code, gone.errors) == (0, "")
            assert gone.output.startswith(f"{address}: disconnected {number} (shop1 127.0.0.1:")
            assert holder.is_dropped()
            wait_until(
                "the other has it",
                lambda: "shop2" in str(watcher.steer("server_locks")["holders"]),
            )
    wait_until("it is free", lambda: "is free" in command("locks", address).output)
    assert "no client with the number" in command.fails("disconnect", address, number)
    assert "200 characters" in command.fails("disconnect", address, "1", "--reason", "x" * 201)
    running.stop()
    assert "disconnected: an operator has disconnected it: it blocks the shop" in running.output


def test_without_the_role(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--allow", "read everybody")
    address = place(running.address)
    assert command("ping", address).code == 0
    assert command("status", address).code == 0
    for line in (
        command.fails("clients", address),
        command.fails("locks", address),
        command.fails("disconnect", address, "1"),
    ):
        assert line.startswith(f"zeotwisted: {address}: ")
        assert "may not call" in line and "it needs the role administer" in line


def test_check(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--storage", "temp=Temp.fs")
    address = place(running.address)
    with closing(zeotwisted.client(running.address, wait_timeout=TIMEOUT)) as client:
        result = command("check", address)
        assert result.code == 0, result
        verdict, figures = result.output.strip().split(" | ")
        assert verdict == f"ZEO OK - {address} serves 1, temp"
        assert "'1 clients'=1;;;0" in figures and "response=" in figures
        assert "age" not in figures, "there is no transaction"
        for options, code, text in (
            (("--warning-clients", "0"), 1, "ZEO WARNING - storage 1: 1 clients"),
            (("--warning-clients", "0", "--critical-clients", "0"), 2, "ZEO CRITICAL - storage 1"),
            (("--critical-clients", "1", "--storage", "1"), 0, "ZEO OK"),
            (("--critical-response", "0"), 2, "ZEO CRITICAL - it answers in"),
            (("--storage", "nothing"), 2, "ZEO CRITICAL - "),
            (("--warning-clients", "nan"), 3, "ZEO UNKNOWN - "),
            (("--timeout", "-1"), 3, "ZEO UNKNOWN - --timeout"),
        ):
            result = command("check", address, *options)
            assert result.code == code and result.output.startswith(text), (options, result)
        transaction = TransactionMetaData()
        client.tpc_begin(transaction)
        client.store(p64(1), z64, b"record", "", transaction)
        client.tpc_vote(transaction)
        with closing(voting(running.address, 2)):
            wait_until("one waits", lambda: client.server_status()["waiting"])
            late = ("check", address, "--warning-lock-wait", "0", "--critical-lock-wait", "999")
            result = command(*late)
            assert result.code == 1 and "others wait for a commit lock" in result.output, result
        client.tpc_finish(transaction)
        result = command("check", address, "--critical-age", "0")
        assert result.code == 2 and "the last transaction was" in result.output
        assert command("check", address, "--critical-age", "1000").code == 0
    running.stop()
    result = command("check", address)
    assert result.code == 2 and result.output.startswith(f"ZEO CRITICAL - {address}: ")
    result = command("check", "--nonsense", address)
    assert result.code == 3 and len(result.errors.splitlines()) == 1


#: Commands that connect, with arguments behind the address.
CONNECTING = {
    "ping": (),
    "clients": (),
    "locks": (),
    "disconnect": ("1",),
    "pack": (),
    "verify": (),
    "status": (),
    "changes": (),
    "promote": (),
}


@pytest.mark.parametrize("name", CONNECTING)
def test_wrong_targets(name: str, command: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = place(closed.getsockname())
    line = command.fails(name, nobody, *CONNECTING[name])
    assert line == (
        f"zeotwisted: {nobody}: Connection refused; start the server, or correct the address"
    )
    line = command.fails(name, "/nowhere/socket", *CONNECTING[name])
    assert "/nowhere/socket: No such file" in line
    for wrong in ("localhost", "127.0.0.1:0", "127.0.0.1:99999", "a:b"):
        line = command.fails(name, wrong, *CONNECTING[name])
        assert line.endswith("write host:port, a port, or a path with a slash in it")


@pytest.mark.parametrize("name", [name for name in CONNECTING if name != "status"])
def test_a_server_that_is_none(name: str, command: Commands) -> None:
    program = (
        "import socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "while True:\n c, _ = s.accept()\n c.sendall(b'SSH-2.0-OpenSSH_9\\r\\n' * 9)\n c.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            port = other.stdout.readline().strip()
            line = command.fails(name, port, *CONNECTING[name])
            assert line.startswith(f"zeotwisted: {port}: not a ZEO peer: it sent b'SSH")
        finally:
            other.kill()


def test_a_server_that_is_silent(command: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        for name in ("ping", "changes", "promote"):
            line = command.fails(name, port, "--timeout", "0.5")
            assert "within 0.5 seconds" in line and "handshake of a ZEO server" in line, name


def test_an_unknown_storage(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    line = command.fails("ping", place(running.address), "--storage", "nope")
    assert "unknown storage: 'nope'; this server has '1'" in line


def test_tls(daemon: Daemon, command: Commands, folder: Path) -> None:
    assert command("certs", "127.0.0.1", "--client", "operator").code == 0
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n<ssl>\ncertificate server.pem\nkey server.key\n"
        "authenticate authority.pem\n</ssl>\n<access>\nadminister certificate:operator\n</access>\n"
        "</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
    )
    plain = daemon(*ANYWHERE, "--storage", "1=Plain.fs")
    running = daemon("-C", "zeo.conf")
    address = place(running.address)
    authority = ("--ca", "authority.pem")
    own = (*authority, "--certificate", "operator.pem", "--key", "operator.key")
    for name in ("ping", "clients", "locks", "status", "check"):
        assert command(name, address, *own).code == 0, name
    assert "certificate:operator" in command("clients", address, *own).output
    # The certificate has another name.
    wrong = place(("localhost", running.address[1]))
    assert "TLS" in command.fails("ping", wrong, *own)
    assert command("ping", wrong, *own, "--server-name", "127.0.0.1").code == 0
    assert "TLS" in command.fails("ping", place(plain.address), *own)
    assert "TLS" in command.fails("ping", address, *authority, "--timeout", "5")
    line = command.fails("ping", address, "--timeout", "1")
    assert "it may expect TLS" in line
    assert "need --ca" in command.fails("ping", address, "--key", "operator.key")
    assert "needs --ca" in command.fails("ping", address, "--server-name", "x")
    assert "No such file" in command.fails("ping", address, "--ca", "nowhere.pem")
    assert "in PEM format" in command.fails("ping", address, "--ca", "operator.key")


def test_an_account(daemon: Daemon, command: Commands, folder: Path) -> None:
    (folder / "password").write_text("s3cret\n")
    added = command("user", "add", "anna", "--password-file", "password", "--file", "accounts")
    assert added.code == 0
    running = daemon(
        *ANYWHERE, "--file", "Data.fs", "--accounts", "accounts", "--allow", "administer user:anna"
    )
    address = place(running.address)
    login = ("--user", "anna", "--password-file", "password")
    assert "user:anna" in command("clients", address, *login).output
    environment_ = environment(ZEO_PASSWORD="s3cret")
    done = subprocess.run(
        [sys.executable, "-m", "zeotwisted", "ping", address, "--user", "anna"],
        env=environment_,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0
    (folder / "password").write_text("wrong\n")
    assert command.fails("clients", address, *login).endswith("wrong user name or password")
    assert "admits only clients that it knows" in command.fails("clients", address)
    line = command.fails("clients", address, "--password-file", "password")
    assert line == "zeotwisted: --password-file needs --user, the account of this client"
    missing = (*login[:3], "nowhere")
    assert "nowhere" in command.fails("clients", address, *missing)


def test_a_reader_that_closes_the_pipe(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    live = command.start("status", place(running.address), "--live", "--interval", "0.01")
    assert live.stdout is not None and live.stderr is not None
    live.stdout.readline()
    live.stdout.close()
    assert live.wait(TIMEOUT) == 1
    assert live.stderr.read() == ""
    live.stderr.close()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals to imitate")
def test_live_on_a_terminal_clears_it(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    ours, theirs = os.openpty()
    arguments = ("status", place(running.address), "--live", "--interval", "0.05", "--count", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "zeotwisted", *arguments], stdout=theirs, env=environment()
    )
    try:
        assert process.wait(TIMEOUT) == 0
        assert os.read(ours, 65536).count(b"\x1b[2J") == 2
    finally:
        os.close(ours)
        os.close(theirs)
