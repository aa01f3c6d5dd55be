"""--log-json and --log-level, and the same keys of zeo.conf."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clientstorage.support import wait_until

from .conftest import SCRIPTS, commit, environment

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("command", ["twistd", "twist"])
@pytest.mark.parametrize("configured", [False, True])
def test_json(folder: Path, command: str, configured: bool) -> None:
    before = ["-n", "--pidfile="] if command == "twistd" else []
    log = folder / "the.log"
    before += ["--logfile=the.log"] if command == "twistd" else ["--log-file=the.log"]
    options = ["--listen", f"unix:{folder}/zeo", "--log-json", "--log-level", "debug,ZODB=error"]
    if configured:
        (folder / "zeo.conf").write_text(
            f"<zeo>\naddress {folder}/zeo\nlog-json on\nlog-level debug,ZODB=error\n</zeo>\n"
            "<mappingstorage 1>\n</mappingstorage>\n"
        )
        options = ["-C", "zeo.conf"]
    running = _start(command, [*before, "zeo", *options], folder)
    try:
        commit(f"{folder}/zeo", "x", 1, client_label="zope1")
    finally:
        running.terminate()
        running.wait(20)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "part", "message"} <= set(line) for line in lines)
    assert any("listening at" in line["message"] for line in lines)
    assert any(line["level"] == "debug" and line.get("storage") == "1" for line in lines)
    (came,) = (line for line in lines if " connected: " in line["message"])
    assert came["client"] == {"label": "zope1", "address": "local"}
    (went,) = (line for line in lines if line["message"].endswith(" disconnected"))
    assert (went["client"], went["storage"]) == (came["client"], "1")
    assert not [line for line in lines if line["part"].startswith("ZODB")]


def _start(command: str, options: list[str], folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([str(SCRIPTS / command), *options], cwd=folder, env=environment())
    wait_until("it listens", lambda: (folder / "zeo").exists())
    return process


def test_a_mistake(folder: Path) -> None:
    ended = subprocess.run(
        [str(SCRIPTS / "twistd"), "-n", "zeo", "--log-level", "loud"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("zeo: --log-level loud: 'loud' is not a level of the log; write")
