"""Signals that tools send to any daemon do not end this one, and those that end it close it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage

from tests.clientstorage.support import wait_until

from .conftest import ANYWHERE, ROOT, SCRIPTS, TIMEOUT, Running, commit, environment, read

pytestmark = pytest.mark.timeout(120)

HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.mark.parametrize("command", ["twistd", "twist"])
@pytest.mark.parametrize("signum", HARMLESS)
def test_harmless(run: Callable[..., Running], command: str, signum: signal.Signals) -> None:
    options = ["-n", "--pidfile="] if command == "twistd" else ["--log-format=text"]
    running = run(str(SCRIPTS / command), *options, "zeo", *ANYWHERE)
    running.process.send_signal(signum)
    commit(running.address, "x", 1)
    assert read(running.address, "x") == 1
    running.stop()
    assert f"{signum.name}: " in running.output


@pytest.mark.parametrize("signum", HARMLESS)
def test_harmless_to_an_application(
    run: Callable[..., Running], folder: Path, signum: signal.Signals
) -> None:
    text = (ROOT / "etc" / "zeo.tac").read_text()
    (folder / "zeo.tac").write_text(text.replace("8100", "0"))
    running = run(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "-y", "zeo.tac")
    running.process.send_signal(signum)
    commit(running.address, "x", 1)
    assert running.stop() == 0
    assert f"{signum.name}: " in running.output
    assert (folder / "Data.fs.index").exists()


@pytest.mark.parametrize("reason", ["another thread", "a handler of its own"])
def test_left_alone(reason: str) -> None:
    here = reason != "another thread"
    code = (
        "import signal, threading, zeotwisted;"
        "from twisted.internet.selectreactor import SelectReactor;"
        "from zeotwisted.reactor.signals import handle_signals;"
        f"own = {'signal.signal(signal.SIGHUP, print)' if here else None};"
        "before = signal.getsignal(signal.SIGHUP);"
        "reactor = SelectReactor(); handle_signals(reactor, []);"
        "reactor.callWhenRunning(reactor.stop);"
        "run = lambda: reactor.run(installSignalHandlers=False);"
        "thread = threading.Thread(target=run);"
        f"{'run()' if here else 'thread.start(); thread.join()'};"
        "address, stop = zeotwisted.server(); stop();"
        "assert signal.getsignal(signal.SIGHUP) is before;"
        f"assert (signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL) is {not here}"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), timeout=TIMEOUT, check=True)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_end(daemon: Callable[..., Running], folder: Path, signum: signal.Signals) -> None:
    running = daemon(*ANYWHERE)
    commit(running.address, "x", 1)
    assert running.stop(signum) == 0
    assert (folder / "Data.fs.index").exists()
    FileStorage(str(folder / "Data.fs")).close()


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR2])
def test_twistd_log_is_opened_anew(
    run: Callable[..., Running], folder: Path, signum: signal.Signals
) -> None:
    """The end of the log that was moved tells nothing of what came later."""
    (folder / "zeo.conf").write_text(
        "<zeo>\n address 127.0.0.1:0\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
        "<eventlog>\n <logfile>\n  path STDOUT\n </logfile>\n</eventlog>\n"
    )
    running = run(
        str(SCRIPTS / "twistd"), "-n", "--pidfile=", "--logfile=my.log", "zeo", "-C", "zeo.conf"
    )
    log, moved = folder / "my.log", folder / "my.log.1"
    log.rename(moved)
    running.process.send_signal(signum)
    wait_until("there is a new file", log.exists)
    running.stop()
    assert "Main loop terminated" in log.read_text()
    assert "Main loop terminated" not in moved.read_text()
