"""What the container of ``etc`` runs, in a container as far as the system has one without a tool.

The daemon is process 1 and another user than root, and may write into its two folders only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import (
    ROOT,
    SCRIPTS,
    TIMEOUT,
    Running,
    commit,
    environment,
    read,
)

pytestmark = pytest.mark.timeout(120)

Run = Callable[..., Running]

#: Of the user in the Containerfile.
UID = 1000

#: Makes everything read-only but two folders, the second of which is empty and in memory.
_ENTER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t tmpfs -o mode=1777 tmpfs "$2"
mount -o remount,bind,ro /
shift 2
if touch /zeo-was-here 2>/dev/null; then exit 99; fi
exec "$@"
"""


def instructions(name: str) -> dict[str, str]:
    text = re.sub(r"\\\n\s*", " ", (ROOT / "etc" / "container" / name).read_text())
    pairs = (line.split(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    return {word: rest for word, rest in pairs}


def command(spool: str = "/tmp") -> list[str]:
    """Return what the container runs, at a free port of this machine."""
    words = json.loads(instructions("Containerfile")["CMD"])
    assert words.pop(0) == "twistd"
    assert words[-2:] == ["--spool-dir", "/tmp"]
    words[-1] = spool
    return [
        str(SCRIPTS / "twistd"),
        *(word.replace("tcp:8100", "tcp:0:interface=127.0.0.1") for word in words),
    ]


def works(*words: str) -> bool:
    try:
        return not subprocess.run(words, capture_output=True, timeout=TIMEOUT).returncode
    except OSError:
        return False


def another_user() -> list[str]:
    """Return a command that runs another one as the container's user; none if we are not root."""
    if os.getuid():
        return []
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    if not works(*user, sys.executable, str(SCRIPTS / "twistd"), "--version"):
        # Python, or this checkout, is in a folder that only root reads.
        user += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return user


def isolated() -> list[str]:
    """Return a command that runs another one as process 1, in a file system of its own."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.getuid():
        unshare += ["--user", "--map-root-user"]
    if not works(*unshare, "sh", "-c", "mount --make-rprivate / && mount -o remount,bind,ro /"):
        pytest.skip("the system has no namespaces for this user: " + " ".join(unshare))
    return unshare


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder of the container's user."""
    folder = Path(tempfile.mkdtemp(prefix="zeo-data-"))
    if not os.getuid():
        os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def spool() -> Iterator[Path]:
    """A folder to mount another one at."""
    folder = Path(tempfile.mkdtemp(prefix="zeo-spool-"))
    yield folder
    assert not list(folder.iterdir())
    folder.rmdir()


def test_the_user() -> None:
    said = instructions("Containerfile")
    assert said["USER"] == "zeo"
    assert f"useradd --uid {UID} " in said["RUN"]
    assert said["WORKDIR"] == said["VOLUME"] == "/data"


def test_container(run: Run, data: Path, spool: Path) -> None:
    enter = [*isolated(), "sh", "-c", _ENTER, "sh", str(data), str(spool), *another_user()]
    variables = environment(HOME="/nonexistent", TMPDIR=str(spool))
    running = run(*enter, *command(str(spool)), cwd=data, env=variables)
    commit(running.address, "x", list(range(10)))
    # More than stays in memory: it goes through the folder for that.
    commit(running.address, "long", [f"{number:01000}" for number in range(9000)])
    assert read(running.address, "x") == list(range(10))
    health = [SCRIPTS / "zeotwisted", "health", "{}:{}".format(*running.address)]
    subprocess.run([*another_user(), *health], env=variables, check=True, timeout=TIMEOUT)
    pid = running.process.pid
    (daemon,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{daemon}/status").read_text()
    assert re.search(r"^NSpid:.*\t1$", status, re.M), "process 1 of its container"
    if not os.getuid():
        assert re.search(rf"^Uid:\t{UID}\t{UID}\t{UID}\t{UID}$", status, re.M)
    os.kill(int(daemon), signal.SIGTERM)
    assert running.process.wait(TIMEOUT) == 0
    assert running.stop() == 0
    assert "Received SIGTERM, shutting down." in running.output
    names = {"Data.fs", "Data.fs.index", "Data.fs.lock", "Data.fs.tmp", "blobs"}
    assert set(os.listdir(data)) == names


def test_another_user_than_root(run: Run, data: Path) -> None:
    """Without a container."""
    running = run(*another_user(), *command(), cwd=data, env=environment(HOME="/nonexistent"))
    commit(running.address, "x", 1)
    assert running.stop() == 0
    assert running.process.returncode == 0
    assert {path.stat().st_uid for path in data.rglob("*")} == {os.getuid() or UID}
