"""Run groups of tests in child processes, so that a test that hangs ends only itself."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from .fetch import source

#: How long (seconds) a test may take; the longest one takes 25.
LIMIT = 120.0

_REPOSITORY = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What became of a test."""

    passed: bool
    text: str
    """Why it has not passed."""


class Broken(Exception):
    """A child process ended before it was done."""


def groups() -> dict[str, list[str]]:
    """Return the names of all tests by their group."""
    with _Child("stock") as child:
        found = child.read()["tests"]
    names: dict[str, list[str]] = {}
    for group, name in found:
        names.setdefault(group, []).append(name)
    return names


def run(swap: str, group: str) -> dict[str, Outcome]:
    """Run a group of tests and return their outcomes."""
    outcomes: dict[str, Outcome] = {}
    while not _run_rest(swap, group, outcomes):
        pass
    return outcomes


def _run_rest(swap: str, group: str, outcomes: dict[str, Outcome]) -> bool:
    """Run the tests that have no outcome; return whether that was possible in one child."""
    with _Child(swap, group, str(len(outcomes))) as child:
        name = None
        while True:
            try:
                message = child.read()
            except (queue.Empty, Broken) as error:
                if name is None:
                    raise Broken(f"no test of {group} was begun:\n{child.errors()}") from None
                hung = isinstance(error, queue.Empty)
                what = f"took more than {LIMIT:.0f} s" if hung else "ended its process"
                outcomes[name] = Outcome(False, f"{name} {what}:\n{child.errors()}")
                return False
            if "finished" in message:
                return True
            if "begun" in message:
                name = message["begun"]
            else:
                outcomes[message["ended"]] = Outcome(not message["text"], message["text"])


class _Child:
    """A process that runs tests, in a folder and a process group of its own."""

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fidelity", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "errors.log"
        path = (str(source()), str(_REPOSITORY), os.environ.get("PYTHONPATH", ""))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.child", *arguments],
                cwd=self._folder.name,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        follow = threading.Thread(target=self._follow, args=(self._process.stdout,), daemon=True)
        follow.start()
        threading.Thread(target=self._watch, args=(follow,), daemon=True).start()

    def _follow(self, stdout: IO[str]) -> None:
        for line in stdout:
            self._lines.put(line)

    def _watch(self, follow: threading.Thread) -> None:
        self._process.wait()
        # There is no end of its output as long as a daemon that it has forked lives.
        follow.join(5)
        self._lines.put("")

    def read(self) -> dict[str, Any]:
        """Return the next message.

        :raises queue.Empty: there is none for too long.
        :raises Broken: the process has ended.
        """
        line = self._lines.get(timeout=LIMIT)
        if not line:
            raise Broken
        message: dict[str, Any] = json.loads(line)
        return message

    def errors(self) -> str:
        """Return the end of what it wrote to stderr, with the stacks of its threads."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGABRT)
            self._process.wait()
        return self._log.read_text(errors="replace")[-5000:]

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()
