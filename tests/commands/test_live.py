"""``zeotwisted status --live`` shows clients and packs, like top."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.daemon.conftest import ANYWHERE, TIMEOUT, Running, environment, wait_for
from zeotwisted.commands.live import Seen, lines

from .conftest import Commands, ended, place
from .test_looking import voting
from .test_pack import slow

__all__ = ["slow"]

pytestmark = pytest.mark.timeout(90)

Daemon = Callable[..., Running]

#: Two rounds, so that rates are shown, too.
TWICE = ("--live", "--interval", "0.05", "--count", "2")


def client(**changes: Any) -> dict[str, Any]:
    """Return what a server tells of a client."""
    transaction = {
        "phase": "waiting for the commit lock",
        "age": 3.5,
        "user": "anna",
        "description": "an order of a hundred things",
        "objects": 12,
        "size": 5000,
    }
    return {
        "number": 17,
        "label": "shop",
        "user": "user:anna",
        "address": "192.0.2.1:50123",
        "queued": 0,
        "transaction": transaction,
    } | changes


def shown(*clients: dict[str, Any], width: int = 80, most: int = 10, more: int = 0) -> list[str]:
    answer = {"total": len(clients) + more, "clients": clients}
    return lines(Seen(answer, {"running": 0}), width, most)


def test_clients(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--storage", "temp=Temp.fs")
    address = place(running.address)
    with (
        closing(zeotwisted.client(running.address, wait_timeout=TIMEOUT)) as watcher,
        closing(voting(running.address, 1)),
    ):
        wait_until("one holds the lock", lambda: watcher.steer("server_locks")["holders"])
        with closing(voting(running.address, 2)):
            wait_until("one waits", lambda: watcher.steer("server_locks")["waiting"])
            result = command("status", address, *TWICE)
            assert (result.code, result.errors) == (0, "")
            both = json.loads(command("status", address, *TWICE, "--json").output.splitlines()[1])
    found = result.output.splitlines()
    assert max(map(len, found)) <= 80
    assert "\x1b" not in result.output, "neither for a terminal, nor from a client"
    (head, *_) = [line for line in found if line.startswith("NUMBER")]
    assert head.split() == ["NUMBER", "LABEL", "USER", "ADDRESS", "QUEUED", "TRANSACTION"]
    for label, phase in (("shop1", "voted"), ("shop2", "waiting")):
        rows = [line.split() for line in found if f" {label} " in line]
        assert len(rows) == 2
        assert [row[0].isdigit() and row[3][:10] for row in rows] == ["127.0.0.1:"] * 2
        assert all(phase in row for row in rows)
    assert result.output.count("zeotwisted c..") == 4, "it sees itself, at each storage"
    labels = {each["label"] for each in both["clients"]["1"]["clients"]}
    assert {"shop1", "shop2", "zeotwisted command"} <= labels
    assert both["clients"]["temp"]["total"] == 1
    assert both["packs"]["1"]["running"] == 0


def test_a_pack(slow: Running, command: Commands, folder: Path) -> None:
    address = place(slow.address)
    pack = command.start("pack", address)
    wait_for(slow, "begins")
    assert "\n  pack: looking for garbage" in command("status", address, *TWICE).output
    (folder / "go-on").touch()
    assert ended(pack).code == 0
    assert "pack:" not in command("status", address, *TWICE).output


def test_without_the_role(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--allow", "read everybody")
    result = command("status", place(running.address), *TWICE)
    assert (result.code, result.errors) == (0, "")
    assert result.output.count("clients are not shown: everybody may not call server_clients") == 2
    assert "commits 0" in result.output and max(map(len, result.output.splitlines())) <= 80


def test_an_account(daemon: Daemon, command: Commands, folder: Path) -> None:
    (folder / "password").write_text("s3cret\n")
    added = command("user", "add", "anna", "--password-file", "password", "--file", "accounts")
    assert added.code == 0
    running = daemon(
        *ANYWHERE, "--file", "Data.fs", "--accounts", "accounts", "--allow", "administer user:anna"
    )
    address = place(running.address)
    login = ("--user", "anna", "--password-file", "password")
    assert "user:anna" in command("status", address, *TWICE, *login).output
    nobody = command("status", address, *TWICE)
    assert nobody.code == 0, "the counters are for everybody"
    assert "clients are not shown: this server admits only clients that it" in nobody.output
    assert "together with --live" in command.fails("status", address, *login)


def test_a_server_of_zeo(command: Commands) -> None:
    import ZEO

    address, stop = ZEO.server()
    try:
        result = command("status", place(address), *TWICE)
    finally:
        stop()
    assert (result.code, result.errors) == (0, "")
    assert result.output.count("clients are not shown: the server is one of ZEO's") == 2


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals to imitate")
def test_on_a_small_terminal(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    ours, theirs = os.openpty()
    arguments = ("status", place(running.address), "--live", "--interval", "0.05", "--count", "2")
    with closing(zeotwisted.client(running.address, wait_timeout=TIMEOUT)):
        process = subprocess.Popen(
            [sys.executable, "-m", "zeotwisted", *arguments],
            stdout=theirs,
            env=environment(COLUMNS="50", LINES="10"),
        )
        try:
            assert process.wait(TIMEOUT) == 0
            text = os.read(ours, 65536).decode()
        finally:
            os.close(ours)
            os.close(theirs)
    *_, last = text.split("\x1b[2J")
    assert "zeotwisted c.." in last
    assert max(map(len, last.splitlines())) <= 50


def test_80_columns_are_enough() -> None:
    head, row = shown(client())
    assert head == "NUMBER  LABEL  USER       ADDRESS           QUEUED  TRANSACTION"
    assert row.startswith("    17  shop   user:anna  192.0.2.1:50123  0 bytes  waiting 3.50 s, 12")
    assert len(row) == 80 and row.endswith("..")
    assert shown(client(transaction=None))[1].endswith("  -")


def test_wide_terminals_show_all() -> None:
    assert shown(client(), width=200)[1].endswith(
        "  waiting 3.50 s, 12 objects, 4.9 KB anna an order of a hundred things"
    )


def test_long_names_and_many_bytes() -> None:
    long = client(
        number=12345678,
        label="a label of many words",
        user="certificate:CN=somebody",
        address="[2001:db8:1:2:3:4:5:6]:50123",
        queued=2**40 - 1,
    )
    _, row = shown(long)
    assert len(row) == 80
    assert "a label of m..  certificat..  [2001:db8:1:2:.." in row and "  waiting" in row
    assert max(map(len, shown(long, width=20))) == 20


def test_a_name_does_not_move_the_cursor() -> None:
    assert "\x1b" not in "".join(shown(client(label="\x1b[2J", user="a\nb", transaction=None)))


def test_only_as_many_as_there_is_room_for() -> None:
    found = shown(*[client(number=number) for number in range(9)], most=4, more=3)
    assert len(found) == 6 and found[-1] == "  ... and 8 more"
