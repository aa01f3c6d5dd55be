"""Log files that a configuration asks for, as operators of ZEO's daemon know them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clientstorage.support import wait_until

from .conftest import Running, opened

pytestmark = pytest.mark.timeout(120)

CONF = """
<zeo>
  address 127.0.0.1:0
</zeo>
<filestorage 1>
  path Data.fs
  blob-dir blobs
</filestorage>
<eventlog>
  <logfile>
    path zeo.log
    format %(levelname)s %(name)s %(message)s
  </logfile>
</eventlog>
"""


@pytest.fixture
def running(daemon: Callable[..., Running], folder: Path) -> Running:
    (folder / "zeo.conf").write_text(CONF)
    return daemon("-C", "zeo.conf")


def test_holds_what_daemon_and_storages_say(running: Running, folder: Path) -> None:
    with opened(running.address, client_label="the one with a label"):
        pass
    running.stop()
    for log in ((folder / "zeo.log").read_text(), running.output):
        # Once each, although each of the two logs is told what the other is told.
        assert log.count("listening at") == 1
        assert log.count("is the one with a label") == 1
        assert log.count("Selected `bushy` layout") == 1
    assert "INFO zeotwisted.server listening at" in (folder / "zeo.log").read_text()


def test_is_opened_anew_on_SIGUSR2(running: Running, folder: Path) -> None:
    log, rotated = folder / "zeo.log", folder / "zeo.log.1"
    log.rename(rotated)
    running.process.send_signal(signal.SIGUSR2)
    wait_until("there is a new file", log.exists)
    with opened(running.address, client_label="the one with a label"):
        pass
    running.stop()
    assert "is the one with a label" in log.read_text()
    assert "is the one with a label" not in rotated.read_text()
