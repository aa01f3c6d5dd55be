"""Primaries and standbys, each a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ZODB.blob import is_blob_record
from ZODB.FileStorage import FileStorage

from tests.daemon.conftest import SCRIPTS, TIMEOUT, Running, environment

#: How long (seconds) a standby may take to have everything.
SOON = 20.0


class Node:
    """A daemon with a FileStorage and blobs, which keeps its port over restarts.

    :param primaries: the addresses that it follows, if it is a standby.
    :param settings: more lines for the section <zeo>.
    :param keys: more lines for the section <standby>.
    """

    def __init__(
        self,
        folder: Path,
        primaries: list[str] | None = None,
        settings: str = "",
        keys: str = "",
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.keys = keys
        self.primaries = primaries or []
        self.port = 0
        self.running: Running | None = None
        folder.mkdir(exist_ok=True)
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def path(self) -> Path:
        return self.folder / "Data.fs"

    def start(self) -> None:
        standby = "".join(f"primary {each}\n" for each in self.primaries)
        section = f"<standby>\n{standby}{self.keys}</standby>\n" if standby else ""
        (self.folder / "zeo.conf").write_text(
            f"<zeo>\naddress {self.place}\n{self.settings}\n{section}</zeo>\n"
            "<filestorage 1>\npath Data.fs\nblob-dir blobs\n</filestorage>\n"
        )
        command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", "-C", "zeo.conf"]
        self.running = Running(command, self.folder, 1)
        self.port = self.running.address[1]

    def kill(self) -> None:
        """Kill it, as a power failure does."""
        self.stop(signal.SIGKILL)

    def stop(self, signum: int = signal.SIGTERM) -> str:
        """Stop it; return its log."""
        running, self.running = self.running, None
        if running is None:
            return ""
        running.stop(signum)
        return running.output

    def status(self) -> dict[str, Any]:
        """Return what ``ruok`` tells of its storage."""
        return status(self.address)

    def wait(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until its status meets a condition; it announces nothing."""
        end = time.monotonic() + SOON
        while not condition(found := self.status()):
            assert time.monotonic() < end, found
            time.sleep(0.01)
        return found

    def wait_for(self, other: Node) -> None:
        """Wait until it has all that another one has."""
        last = other.status()["last-transaction"]
        self.wait(lambda status: status["last-transaction"] == last)


def command(*arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run ``zeotwisted``; return the exit code and what it printed."""
    result = subprocess.run(
        [str(SCRIPTS / "zeotwisted"), *arguments],
        env=environment(),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return result.returncode, result.stdout


def status(address: Any) -> dict[str, Any]:
    """Return what ``ruok`` tells of storage 1."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock, sock.makefile("rb") as file:
        sock.settimeout(TIMEOUT)
        sock.connect(address)
        file.read(*struct.unpack(">I", file.read(4)))
        sock.sendall(struct.pack(">I", 4) + b"ruok")
        answer = json.loads(file.read(*struct.unpack(">I", file.read(4))))
    found: dict[str, Any] = answer["1"]
    return found


Transactions = list[tuple[Any, ...]]


def contents(path: Path, blob_dir: Path | None = None) -> Transactions:
    """Return everything in a FileStorage that is not open: metadata, records, and blobs."""
    storage = FileStorage(
        str(path), read_only=True, blob_dir=str(blob_dir or path.parent / "blobs")
    )
    try:
        return [
            (
                each.tid,
                each.status,
                each.user,
                each.description,
                each.extension_bytes,
                [(*_record(record), _blob(storage, record)) for record in each],
            )
            for each in storage.iterator()
        ]
    finally:
        storage.close()


def _record(record: Any) -> tuple[Any, ...]:
    return record.oid, record.tid, record.data, record.data_txn


def _blob(storage: Any, record: Any) -> bytes | None:
    if record.data is None or not is_blob_record(record.data):
        return None
    return Path(storage.loadBlob(record.oid, record.tid)).read_bytes()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Start a node in a folder; at the end they stop, without a traceback in a log."""
    nodes: list[Node] = []

    def make(name: str, *primaries: str, settings: str = "", keys: str = "") -> Node:
        made = Node(tmp_path / name, list(primaries), settings, keys)
        nodes.append(made)
        return made

    yield make
    for each in reversed(nodes):
        log = each.stop()
        assert "Traceback" not in log, log
