"""The daemons of a site: the one with the storage, and one for a host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zeotwisted import localserver

__all__ = ["Daemon", "host", "upstream"]


class Daemon:
    """A server's process.

    :param storage: its storage's section.
    :ivar address: where it is; stays the same.
    """

    def __init__(self, storage: str, address: str = "127.0.0.1:0", **options: Any) -> None:
        self._storage = storage
        self._options = options
        self._stop: Callable[[], None] | None = None
        self.start(address)

    def start(self, address: str | None = None) -> None:
        """Start it; return when it listens."""
        if address is None:
            address = (
                self.address if isinstance(self.address, str) else "{}:{}".format(*self.address)
            )
        self.address, self._stop = localserver.server(
            storage_conf=self._storage,
            zeo_conf={"address": address, **self._options},
            threaded=False,
        )

    @property
    def process(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = self._stop.process  # type: ignore[union-attr]
        return process

    def kill(self) -> None:
        """End it without a word."""
        if self._stop is not None:
            self.process.kill()
            self.process.communicate()
            self._stop = None

    def stop(self) -> None:
        """Stop it as an operator does."""
        if self._stop is not None:
            self._stop()
            self._stop = None


def upstream(folder: Path, **options: Any) -> Daemon:
    """Return a daemon with a FileStorage and blobs."""
    storage = (
        f"<filestorage>\n path {folder / 'Data.fs'}\n blob-dir {folder / 'blobs'}\n</filestorage>"
    )
    return Daemon(storage, **options)


def host(
    folder: Path, server: Any, *keys: str, address: str | None = None, **options: Any
) -> Daemon:
    """Return the daemon of a host, by default at a Unix socket, with a cache file.

    :param server: the address of the other daemon.
    :param keys: lines of the section of its storage.
    """
    lines = "\n".join(
        [f"server {server[0]}:{server[1]}", f"client {folder.name}", f"var {folder}", *keys]
    )
    storage = f"%import zeotwisted\n<clientstorage 1>\nwarm-start off\n{lines}\n</clientstorage>"
    return Daemon(storage, address or str(folder / "zeo.sock"), **options)
