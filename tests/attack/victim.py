"""The daemon that is attacked."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import zeotwisted
from tests.daemon.conftest import SCRIPTS, addresses_in, environment

from .attacks import Door
from .peers import Address

#: A small machine: limits that an attack can reach in little time.
_CONFIGURATION = """
<zeo>
  address {socket}
  message-limit 16MB
  message-memory 64MB
  send-memory 64MB
  spool-memory 64MB
  spool-limit 512MB
  operation-limit 100000
  synchronous-standby 1
  <listen>
    address 127.0.0.1:0
    <access>
      write everybody
    </access>
  </listen>
  <http>
    address 127.0.0.1:0
  </http>
</zeo>
<filestorage 1>
  path Data.fs
  blob-dir blobs
</filestorage>
"""

_DESCRIPTORS = 1024

#: The line of the log that says where visitors are.
_HTTP = re.compile(r"http at IPv.Address\(type='TCP', host='(.*?)', port=(\d+)\)")


class State(NamedTuple):
    """What the daemon's process uses."""

    descriptors: int
    threads: int
    #: Resident memory, in MB.
    memory: int


class Victim:
    """A daemon with 1024 descriptors.

    :ivar socket: the Unix socket of the well-behaved clients.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "zeo.sock")
        self._log = folder / "log"
        (folder / "zeo.conf").write_text(_CONFIGURATION.format(socket=self.socket))
        self._process = subprocess.Popen(
            [
                str(SCRIPTS / "twistd"),
                *("-n", "--pidfile", "", "--logfile", str(self._log)),
                *("zeo", "--conf", "zeo.conf"),
            ],
            cwd=folder,
            env=environment(),
            preexec_fn=_limit_descriptors,
        )
        while len(addresses_in(self.log)) < 2 or not _HTTP.search(self.log):
            assert self._process.poll() is None, self.log
            time.sleep(0.05)
        (address,) = (where for where in addresses_in(self.log) if isinstance(where, tuple))
        http = _HTTP.search(self.log)
        assert http is not None
        self._addresses: dict[Door, Address] = {
            Door.CLIENTS: address,
            Door.OPERATORS: self.socket,
            Door.VISITORS: (http[1], int(http[2])),
        }
        self._storage: Any = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def address_of(self, door: Door) -> Address:
        """Return where attackers come in."""
        return self._addresses[door]

    def is_live(self) -> bool:
        """Return whether visitors get an answer."""
        host, port = self._addresses[Door.VISITORS]
        with suppress(OSError):
            return urlopen(f"http://{host}:{port}/live", timeout=5).status == 200
        return False

    def state(self) -> State:
        """Return what the process uses now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        values = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        return State(
            len(os.listdir(f"/proc/{self.pid}/fd")),
            int(values["Threads"]),
            int(values["VmRSS"].split()[0]) // 1024,
        )

    def limits(self) -> dict[str, dict[str, int]]:
        """Return the limits, as a client sees them."""
        if self._storage is None:
            self._storage = zeotwisted.client(self.socket, wait_timeout=20)
        limits: dict[str, dict[str, int]] = self._storage.server_limits()
        return limits

    def stop(self) -> float:
        """Stop it; return how many seconds it took."""
        if self._storage is not None:
            self._storage.close()
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        return time.monotonic() - began

    @property
    def log(self) -> str:
        """What the daemon has logged."""
        return self._log.read_text() if self._log.exists() else ""


def _limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS // 2, _DESCRIPTORS))
