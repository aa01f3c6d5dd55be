"""``zeotwisted verify``: it finds each fault that was made, and no other."""

from __future__ import annotations

import json
import pickle
import signal
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

import zeotwisted
from tests.daemon.conftest import ANYWHERE, TIMEOUT, Running

from .conftest import Commands, ended, fill, place

pytestmark = pytest.mark.timeout(90)

Daemon = Callable[..., Running]


def record(*references: bytes) -> bytes:
    """Return a record of an object that refers to others."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return thing[1] if isinstance(thing, tuple) and thing[:1] == ("ref",) else None

    import io

    file = io.BytesIO()
    Pickler(file, 3).dump(("persistent", "Persistent"))
    Pickler(file, 3).dump([("ref", each) for each in references])
    return file.getvalue()


def store(path: Path, records: dict[int, bytes]) -> None:
    """Store records as they are."""
    with closing(FileStorage(str(path))) as storage:
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        for number, data in records.items():
            storage.store(p64(number), z64, data, "", transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)


FAULTS = {
    0: record(p64(1), p64(2), p64(3)),
    1: record(p64(7)),
    2: b"\x80\x03this is no \x1b pickle",
    3: record(p64(1), p64(0)),
    # Nothing refers to these.
    8: record(p64(9)),
    10: b".z" + zlib.compress(record(p64(8), p64(1))),
}


def test_faults(daemon: Daemon, command: Commands, folder: Path) -> None:
    store(folder / "Data.fs", FAULTS)
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    address = place(running.address)
    result = command("verify", address)
    assert result.code == 1 and result.errors == ""
    *faults, end = result.output.splitlines()
    assert faults[0].startswith("object 0x0000000000000002: its record cannot be read: ")
    assert faults[1:] == [
        "object 0x0000000000000007: there is no record of it, and object 0x0000000000000001 refers "
        "to it",
        "object 0x0000000000000009: there is no record of it, and object 0x0000000000000008 refers "
        "to it",
    ]
    assert f"{address}, storage 1: 6 records, 3 faults, the state of 2" in end
    result = command("verify", address, "--reachable")
    assert result.code == 1 and ": 4 records, 2 faults, " in result.output
    lines = [json.loads(line) for line in command("verify", address, "--json").output.splitlines()]
    assert [each["oid"][-2:] for each in lines[:-1]] == ["02", "07", "09"]
    assert (lines[-1]["records"], lines[-1]["faults"]) == (6, 3)


@pytest.mark.parametrize("more", [False, True])
def test_a_record_that_is_damaged_on_the_disk(
    daemon: Daemon, command: Commands, folder: Path, more: bool
) -> None:
    records = {0: record(p64(1)), 1: record() + b"needle"}
    # What is behind it, and is garbage, is verified, too.
    store(folder / "Data.fs", records | {5: record(p64(6))} if more else records)
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    content = (folder / "Data.fs").read_bytes()
    at = content.index(p64(1), content.index(b"needle") - 200)
    with (folder / "Data.fs").open("r+b") as file:
        # The header of the record has the oid; the storage notices that it is another one.
        file.seek(content.rindex(p64(1), at, content.index(b"needle")))
        file.write(p64(99))
    result = command("verify", place(running.address))
    assert result.code == 1
    assert "object 0x0000000000000001: it cannot be loaded: " in result.output
    assert ("object 0x0000000000000006: there is no record of it" in result.output) is more


def test_no_faults(daemon: Daemon, command: Commands, folder: Path) -> None:
    children = {number: record() for number in range(1, 2500)}
    fill(folder, 20, "filled.fs")
    with closing(FileStorage(str(folder / "filled.fs"), read_only=True)) as filled:
        filled_count = len(filled)
    store(folder / "Data.fs", {0: record(*map(p64, children))} | children)
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--storage", "filled=filled.fs")
    for name, count in (("1", 2500), ("filled", filled_count)):
        result = command("verify", place(running.address), "--storage", name)
        assert result.code == 0, result
        assert f": {count} records, 0 faults, the state of 2" in result.output


def test_an_empty_storage(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    result = command("verify", place(running.address))
    assert result.code == 0 and ": 0 records, 0 faults, an empty storage" in result.output


def test_a_storage_that_cannot_list_its_records(
    daemon: Daemon, command: Commands, folder: Path
) -> None:
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
    )
    running = daemon("-C", "zeo.conf")
    with closing(zeotwisted.DB(running.address, wait_timeout=TIMEOUT)) as database:
        with database.transaction() as connection:
            connection.root()["x"] = 1
        result = command("verify", place(running.address))
    assert result.code == 0 and ": 1 records, 0 faults" in result.output
    assert "cannot tell which records it has; only what the root leads to" in result.errors


def test_the_server_ends_in_the_middle(daemon: Daemon, command: Commands, folder: Path) -> None:
    # Each record refers to the next one, so that there is one round trip for each.
    count = 20_000
    store(folder / "Data.fs", {n: record(p64(n + 1)) for n in range(count)} | {count: record()})
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--log-level", "debug")
    verify = command.start("verify", place(running.address), "--timeout", "1")
    while "zeotwisted command" not in running.output:
        assert running.process.stdout is not None
        running.output += running.process.stdout.readline()
    running.stop(signal.SIGKILL)
    result = ended(verify)
    assert result.code == 1
    assert result.errors.startswith(f"zeotwisted: {place(running.address)}: ")
    assert len(result.errors.splitlines()) == 1


def test_without_the_role(daemon: Daemon, command: Commands, folder: Path) -> None:
    fill(folder, 3)
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--allow", "pack everybody")
    line = command.fails("verify", place(running.address))
    assert "may not call" in line and "needs the role read" in line
