"""``zeotwisted changes``, against real daemons."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

import zeotwisted

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, environment

pytestmark = pytest.mark.timeout(60)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SCRIPTS / "zeotwisted"), "changes", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def changes(*arguments: str) -> tuple[int, str, str]:
    """Run it; return the exit code and what it printed."""
    process = start(*arguments)
    output, errors = process.communicate(timeout=TIMEOUT)
    return process.returncode, output, errors


def commit(storage: Any, number: int, data: bytes) -> str:
    txn = TransactionMetaData(user="me", description="wrote\n")
    storage.tpc_begin(txn)
    storage.store(p64(number), z64, data, "", txn)
    storage.tpc_vote(txn)
    tid: bytes = storage.tpc_finish(txn)
    return tid.hex()


def test_what_it_prints(daemon: Callable[..., Running], folder: Path) -> None:
    running = daemon(*ANYWHERE)
    address = "{}:{}".format(*running.address)
    storage = zeotwisted.client(running.address)
    first, second = commit(storage, 1, b"one"), commit(storage, 2, b"two")
    code, output, errors = changes(address, "--once", "--json", "--records")
    assert (code, errors) == (0, "")
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["tid"] for line in lines] == [first, second]
    assert (lines[0]["user"], lines[0]["description"]) == ("me", "wrote\n")
    assert lines[1]["oids"] == [p64(2).hex()]
    (record,) = lines[1]["records"]
    assert base64.b64decode(record["data"]) == b"two"
    assert record["blob"] is False
    code, output, errors = changes(address, "--once", "--since", first)
    assert (code, errors) == (0, "")
    assert output.startswith(f"{second} 2") and "1 objects user='me'" in output
    # It follows, whatever happens to the daemon.
    process = start(address, "--since", second)
    assert process.stdout is not None
    third = commit(storage, 3, b"three")
    assert process.stdout.readline().startswith(third)
    process.kill()
    process.communicate()
    storage.close()


def test_mistakes(daemon: Callable[..., Running]) -> None:
    running = daemon(*ANYWHERE)
    address = "{}:{}".format(*running.address)
    wrong = "00000000000000ff"
    for arguments, message in (
        ((address, "--since", "xyz"), "--since xyz: write the 16 hexadecimal digits"),
        ((address, "--since", wrong), f"transaction {wrong} is not in the storage"),
        ((address, "--storage", "other"), "unknown storage: 'other'"),
        (("127.0.0.1:1", "--timeout", "0.3"), "127.0.0.1:1: Connection refused; start the server"),
        ((address, "--timeout", "-1"), "--timeout: write a number"),
        ((address, "--user", "me"), "--user needs --password-file"),
    ):
        code, output, errors = changes(*arguments)
        assert (code, output) == (1, "")
        assert message in errors and len(errors.splitlines()) == 1
