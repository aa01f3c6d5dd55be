"""One run: a daemon and a client, each in a process of its own, on a fresh copy of a database."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import IO

from .contenders import Contender
from .measures import Measure

__all__ = ["RunFailed", "run"]

_START_TIMEOUT = 30
_STOP_TIMEOUT = 20


class RunFailed(Exception):
    """A run gave no figure; the message says why, in one line."""


def run(
    contender: Contender, measure: Measure, folder: Path, database: Path, seed: int, timeout: float
) -> float:
    """Return the median duration of an operation, in seconds.

    :raises RunFailed: the daemon or the client failed, or the client took over `timeout` seconds.
    """
    blob_dir = [str(folder / "blobs")] if measure.blobs else []
    with _daemon(contender.daemon, folder, database, blob_dir) as (host, port):
        arguments = [contender.client, measure.name, host, str(port), str(seed)]
        try:
            client = subprocess.run(
                command("client", *arguments),
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise RunFailed(f"client: no result after {timeout:g} s") from None
    if client.returncode or not client.stdout:
        raise RunFailed("client: " + _last_line(client.stderr, client.returncode))
    # A library may print something of its own before.
    durations = json.loads(client.stdout.splitlines()[-1])
    return median(durations)


@contextmanager
def _daemon(
    make: str, folder: Path, database: Path, blob_dir: list[str]
) -> Iterator[tuple[str, int]]:
    errors = folder / "daemon.err"
    with (
        open(errors, "w") as stderr,
        subprocess.Popen(
            command("daemon", make, str(database), *blob_dir),
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = _first_line(process.stdout)
            if not line:
                returncode = process.wait(_STOP_TIMEOUT)
                raise RunFailed("daemon: " + _last_line(errors.read_text(), returncode))
            host, port = json.loads(line)
            yield host, port
        finally:
            process.stdin.close()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _first_line(stream: IO[str]) -> str:
    readable, _, _ = select.select([stream], [], [], _START_TIMEOUT)
    if not readable:
        raise RunFailed(f"daemon: not ready after {_START_TIMEOUT} s")
    return stream.readline()


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


def environment() -> dict[str, str]:
    # The processes start in the folder of their run, where nobody minds a daemon's files,
    # so they have to be told where this package is.
    root = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    paths = [root, *([inherited] if inherited else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _last_line(text: str, returncode: int) -> str:
    """The line that names the exception, when a traceback was printed."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with status {returncode}"
