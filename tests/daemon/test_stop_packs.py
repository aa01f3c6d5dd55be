"""A daemon that is told to stop, or killed, while a pack copies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage

import zeotwisted

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, commit, environment, read, wait_for

pytestmark = pytest.mark.timeout(120)

Run = Callable[..., Running]

#: Python runs this module at its start. The packer says that it copies, and waits for a byte, so
#: that the pack goes on when the test wants it to.
_SLOW_PACK = """
import os, sys
from ZODB.FileStorage.fspack import FileStoragePacker

copy = FileStoragePacker.writePackedDataRecord

def wait(*args):
    if os.path.exists("gate"):
        print("it copies", flush=True)
        with open("gate", "rb") as gate:
            gate.read(1)
    copy(*args)

FileStoragePacker.writePackedDataRecord = wait
"""


class Copying:
    """A daemon whose pack has begun to copy, and goes on when it is told to."""

    def __init__(self, run: Run, folder: Path, *options: str) -> None:
        self.folder = folder
        self._options = options
        (folder / "sitecustomize.py").write_text(_SLOW_PACK)
        self._run = run
        self.running = self.start()
        commit(self.running.address, "another object", PersistentMapping())
        for number in range(3):
            commit(self.running.address, "x", number)
        self.before = (folder / "Data.fs").read_bytes()
        os.mkfifo(folder / "gate")
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._pack)
        self._thread.start()
        wait_for(self.running, "it copies")
        assert (folder / "Data.fs.pack").exists()

    def start(self) -> Running:
        path = f"{self.folder}{os.pathsep}{environment()['PYTHONPATH']}"
        command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", *ANYWHERE, *self._options]
        return self._run(*command, env=environment(PYTHONPATH=path))

    def _pack(self) -> None:
        try:
            with closing(zeotwisted.ClientStorage(self.running.address)) as storage:
                storage.pack(wait=True)
        except Exception as error:
            self.error = error

    def go_on(self) -> None:
        """Let the pack copy to its end, if nothing else ends it."""
        (self.folder / "gate").rename(self.folder / "opened")
        with open(self.folder / "opened", "wb"):
            pass

    def end(self) -> None:
        self._thread.join(TIMEOUT)

    @property
    def names(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if name.startswith("Data.fs")}


@pytest.fixture
def copying(run: Run, folder: Path) -> Iterator[Callable[..., Copying]]:
    made: list[Copying] = []

    def make(*options: str) -> Copying:
        made.append(Copying(run, folder, *options))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_interrupted(copying: Callable[..., Copying], folder: Path) -> None:
    pack = copying()
    pack.running.process.send_signal(signal.SIGTERM)
    wait_for(pack.running, "the pack of '1' has to end")
    pack.go_on()
    assert pack.running.stop() == 0
    assert "the pack of '1' is interrupted, because the server stops" in pack.running.output
    assert pack.names == {"Data.fs", "Data.fs.index", "Data.fs.lock", "Data.fs.tmp"}
    assert (folder / "Data.fs").read_bytes() == pack.before
    pack.end()
    assert pack.error is not None


@pytest.mark.parametrize("hurry", [False, True])
def test_waited_for(copying: Callable[..., Copying], folder: Path, hurry: bool) -> None:
    pack = copying("--pack-at-stop", "wait")
    pack.running.process.send_signal(signal.SIGTERM)
    wait_for(pack.running, "the pack of '1' goes on, and the server waits for it")
    if hurry:
        pack.running.process.send_signal(signal.SIGTERM)
        wait_for(pack.running, "SIGTERM: the daemon stops already")
    pack.go_on()
    # `stop` sends one more signal.
    pack.running.process.wait(TIMEOUT)
    assert pack.running.stop() == 0
    after = (folder / "Data.fs").read_bytes()
    assert (after == pack.before) is hurry
    assert ("is interrupted" in pack.running.output) is hurry
    assert "Data.fs.pack" not in pack.names
    with closing(FileStorage(str(folder / "Data.fs"), read_only=True)) as stored:
        assert len(stored) == 2


def test_killed(copying: Callable[..., Copying], folder: Path) -> None:
    """The file has everything, and the next daemon removes what the pack has left."""
    pack = copying()
    pack.running.process.kill()
    assert pack.running.stop() == -signal.SIGKILL
    assert "Data.fs.pack" in pack.names
    assert (folder / "Data.fs").read_bytes() == pack.before
    (folder / "gate").unlink()
    again = pack.start()
    assert f"removed {folder}/Data.fs.pack (" in again.output
    assert "which a pack that was killed has left" in again.output
    assert read(again.address, "x") == 2
    assert "Data.fs.pack" not in pack.names
    with closing(zeotwisted.ClientStorage(again.address)) as storage:
        storage.pack(wait=True)
    assert read(again.address, "x") == 2
    assert again.stop() == 0
    assert (folder / "Data.fs").stat().st_size < len(pack.before)
