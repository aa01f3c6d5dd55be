"""A server in a process that can be killed, and started again at the same address."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from zeotwisted import localserver

__all__ = ["STORAGES", "Daemon"]

#: What may be served, by the names on the command line.
STORAGES = {
    "filestorage": "<filestorage>\n path {path}\n</filestorage>\n",
    "mappingstorage": "<mappingstorage>\n</mappingstorage>\n",
    "demostorage": "<demostorage>\n</demostorage>\n",
}

_ZEO = """
import json, sys, ZEO
storage, zeo = json.loads(sys.stdin.readline())
address, stop = ZEO.server(storage_conf=storage, zeo_conf=zeo, threaded=True)
print(json.dumps(address), flush=True)
sys.stdin.read()
"""


class Daemon:
    """A server.

    :param package: whose.
    :param protocol: the highest version of the protocol, for zeotwisted's.
    :param storage: a key of `STORAGES`.
    :ivar address: where it is; stays the same.
    """

    def __init__(self, directory: Path, package: str, protocol: int, storage: str) -> None:
        self._package = package
        self._protocol = protocol
        self._storage = STORAGES[storage].format(path=directory / "Data.fs")
        self._process: subprocess.Popen[str]
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self.start()

    def start(self) -> None:
        """Start it; return when it listens."""
        host, port = self.address
        if self._package == "ZEO":
            self._start_zeo(f"<zeo>\n address {host}:{port}\n</zeo>\n")
            return
        address, stop = localserver.server(
            storage_conf=self._storage,
            zeo_conf={"address": f"{host}:{port}", "protocol_limit": self._protocol},
            threaded=False,
        )
        assert isinstance(address, tuple)
        self.address = address
        self._process = stop.process  # type: ignore[attr-defined]

    def _start_zeo(self, section: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ZEO],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([self._storage, section]) + "\n")
        self._process.stdin.flush()
        host, port = json.loads(self._process.stdout.readline())
        self.address = (host, port)

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.communicate()

    stop = kill
