"""How much memory a large blob takes: ``python -m tests.clientstorage.blobs.blobmemory [MIB]``.

A daemon and a client, each in a process of its own, send and fetch a blob. Meanwhile another client
asks for the blob and does not read it, and a third one makes calls. The program prints how much
memory daemon and client have taken at most, and how long the calls took.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from zeotwisted.protocol.session import ClientHandshake, Session

__all__ = ["measure"]

_MIB = 2**20

_DAEMON = """
import json, sys, zeotwisted
address, stop = zeotwisted.server(path="Data.fs", blob_dir="blobs")
print(json.dumps(address), flush=True)
sys.stdin.read()
stop()
"""

_CLIENT = """
import os, sys, time, zeotwisted
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
port, size = map(int, sys.argv[1:])
storage = zeotwisted.ClientStorage(port, blob_dir="cache")
name = os.path.join(storage.temporaryDirectory(), "new")
with open(name, "wb") as file:
    file.truncate(size)
txn = TransactionMetaData()

def step(name):
    print(name, flush=True)
    sys.stdin.readline()

step("ready")
storage.tpc_begin(txn)
storage.storeBlob(p64(1), z64, b"a blob", name, "", txn)
storage.tpc_vote(txn)
tid = storage.tpc_finish(txn)
step(tid.hex())
os.remove(storage.loadBlob(p64(1), tid))
name = storage.loadBlob(p64(1), tid)
assert os.path.getsize(name) == size
step("fetched")
storage.close()
"""

_CALLER = """
import json, sys, threading, time, zeotwisted
storage = zeotwisted.ClientStorage(int(sys.argv[1]))
end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), end.set()), daemon=True).start()
durations = []
print("ready", flush=True)
while not end.wait(0.002):
    start = time.perf_counter()
    storage.ping()
    durations.append(time.perf_counter() - start)
print(json.dumps(sorted(durations)), flush=True)
storage.close()
"""


class Process(subprocess.Popen):
    """One of the programs above; its memory is what it takes above what it took at first."""

    def __init__(self, program: str, folder: str, *arguments: object) -> None:
        super().__init__(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )

    def hear(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline().strip()

    def say(self) -> None:
        assert self.stdin is not None
        print(file=self.stdin, flush=True)

    def memory(self, key: str) -> float:
        """Return a line of the process's status, in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        raise KeyError(key)

    def begin(self) -> None:
        """Measure from here on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.before = self.memory("VmRSS")

    def taken(self) -> float:
        return self.memory("VmHWM") - self.before


def _ask_and_do_not_read(port: int, tid: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    session = Session(ClientHandshake())
    list(session.receive(peer.recv(65536)))
    peer.sendall(session.greeting + session.call(1, "register", "1", False))
    list(session.receive(peer.recv(65536)))
    session.registered()
    peer.sendall(session.call(2, "sendBlob", b"\0" * 7 + b"\1", tid))
    return peer


def measure(size: int) -> dict[str, Any]:
    """Return what it took, in MiB and seconds.

    :param size: of the blob, in bytes.
    """
    with tempfile.TemporaryDirectory() as folder, Process(_DAEMON, folder) as daemon:
        _, port = json.loads(daemon.hear())
        with (
            Process(_CALLER, folder, port) as caller,
            Process(_CLIENT, folder, port, size) as client,
        ):
            caller.hear()
            client.hear()
            result: dict[str, Any] = {}
            peer = None
            for what in ("sent", "fetched"):
                daemon.begin()
                client.begin()
                start = time.perf_counter()
                client.say()
                answer = client.hear()
                result[what] = {
                    "seconds": time.perf_counter() - start,
                    "daemon": daemon.taken(),
                    "client": client.taken(),
                }
                if peer is None:
                    peer = _ask_and_do_not_read(port, bytes.fromhex(answer))
            client.say()
            caller.say()
            durations = json.loads(caller.hear())
            result["calls"] = {
                "median": durations[len(durations) // 2],
                "99 %": durations[len(durations) * 99 // 100],
                "max": durations[-1],
            }
            assert peer is not None
            peer.close()
        assert daemon.stdin is not None
        daemon.stdin.close()
    return result


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    print(json.dumps(measure(size * _MIB), indent=1))
