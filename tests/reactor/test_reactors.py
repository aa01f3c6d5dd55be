"""Beside event loops of other kinds: asyncio's, Twisted's installed reactors, and trial's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clientstorage.support import ROOT, Script, World

ADD = """
import transaction
import zeotwisted

def add(db):
    while True:
        try:
            with db.transaction() as connection:
                root = connection.root()
                root["count"] = root.get("count", 0) + 1
                return
        except transaction.interfaces.TransientError:
            pass

def count(db):
    db.storage.ping()  # The news of the last commit may still be on its way.
    with db.transaction() as connection:
        return connection.root()["count"]
"""


def test_asyncio(world: World) -> None:
    """In the loop's thread and in others, while the loop goes on."""
    script = Script(
        ADD
        + """
import asyncio

async def main():
    db = zeotwisted.DB(ADDRESS)
    db.setPoolSize(100)
    add(db)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(asyncio.to_thread(add, db) for _ in range(5)))
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, count, db) == 6
    assert ticks
    assert count(db) == 6
    ticking.cancel()
    await asyncio.to_thread(db.close)

asyncio.run(main(), debug=True)
assert "twisted.internet.reactor" not in sys.modules
print("done")
""",
        world.server(threaded=False).address,
    )
    code, output, errors = script.end()
    assert (code, output) == (0, "done\n"), errors


REACTORS = ["select", "poll", "epoll", "asyncio"]


@pytest.mark.parametrize("ours", [False, True], ids=["private", "injected"])
@pytest.mark.parametrize("kind", REACTORS)
def test_twisted(world: World, kind: str, ours: bool) -> None:
    """Beside the application's reactor, or in it."""
    if kind == "epoll" and not sys.platform.startswith("linux"):
        pytest.skip("epoll is Linux's")
    script = Script(
        f"from twisted.internet import {kind}reactor\n{kind}reactor.install()\n"
        + ADD
        + f"""
from twisted.internet import defer, reactor, task, threads
from zeotwisted import ClientStorage
from ZODB import DB

async def main(reactor):
    storage = ClientStorage(ADDRESS, wait=False, reactor={"reactor" if ours else "None"})
    db = await threads.deferToThread(DB, storage)
    db.setPoolSize(100)
    await defer.gatherResults([threads.deferToThread(add, db) for _ in range(5)])
    assert await threads.deferToThread(count, db) == 5
    db.close()
    assert (storage._link.thread.reactor is reactor) == {ours}
    print("done")

task.react(main)
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


@pytest.mark.parametrize("kind", ["default", "asyncio"])
def test_trial(world: World, tmp_path: Path, kind: str) -> None:
    """Its reactor is as clean after a test as before."""
    (tmp_path / "test_it.py").write_text(
        ADD
        + f"""
from twisted.internet import threads
from twisted.trial import unittest

class Tests(unittest.TestCase):
    def setUp(self):
        self.db = zeotwisted.DB({world.server(threaded=False).address!r})
        self.addCleanup(self.db.close)

    def test_here(self):
        add(self.db)
        assert count(self.db)

    async def test_in_threads(self):
        await threads.deferToThread(add, self.db)
        assert await threads.deferToThread(count, self.db)

    def test_again(self):
        self.test_here()

class Left(unittest.TestCase):
    def test_open(self):
        # Nothing of a storage that stays open is in the reactor of the tests.
        zeotwisted.ClientStorage({world.server(threaded=False).address!r}).ping()
"""
    )
    reactor = [] if kind == "default" else [f"--reactor={kind}"]
    result = subprocess.run(
        [sys.executable, "-m", "twisted.trial", *reactor, "test_it"],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "successes=4" in result.stdout
