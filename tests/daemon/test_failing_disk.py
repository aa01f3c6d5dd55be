"""What a daemon does when the disk fails while a storage finishes a transaction."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import transaction
from ZODB import DB
from ZODB.FileStorage import FileStorage

import zeotwisted

from .conftest import SCRIPTS, TIMEOUT, Running, environment

pytestmark = pytest.mark.timeout(120)

#: A FileStorage whose disk fails as long as there is a file `failing`: before the transaction has
#: reached the disk, or after.
FAILING = """
import errno, os
from ZODB.FileStorage import FileStorage
class Failing(FileStorage):
    def _finish_finish(self, tid):
        if not os.path.exists("failing"):
            return FileStorage._finish_finish(self, tid)
        if open("failing").read() == "after":
            self._file.flush()
        else:
            self._file.seek(self._pos + 16)
            self._file.write(b"c")
        raise OSError(errno.EIO, os.strerror(errno.EIO))
class Section:
    def __init__(self, section):
        self.name = section.getSectionName()
    def open(self):
        return Failing("Data.fs")
"""

COMPONENT = """<component>
<import package='ZODB'/>
<sectiontype name='failing' implements='ZODB.storage' datatype='failingstorage.Section'/>
</component>
"""


def start(folder: Path, port: int = 0) -> Running:
    """Start a daemon that serves such a storage."""
    package = folder / "failingstorage"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(FAILING)
    (package / "component.xml").write_text(COMPONENT)
    (folder / "zeo.conf").write_text(
        f"%import failingstorage\n<zeo>\naddress 127.0.0.1:{port}\n</zeo>\n"
        "<failing 1>\n</failing>\n"
    )
    variables = environment()
    variables["PYTHONPATH"] = f"{folder}:{variables['PYTHONPATH']}"
    command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", "-C", "zeo.conf"]
    return Running(command, folder, 1, env=variables)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_daemon_ends_and_its_clients_learn_what_is_committed(folder: Path, when: str) -> None:
    running = start(folder)
    storage = zeotwisted.ClientStorage(running.address, wait_timeout=TIMEOUT)
    db = DB(storage)
    reader = zeotwisted.ClientStorage(running.address, wait_timeout=0.1)
    (folder / "failing").write_text(when)
    outcome: list[Any] = []

    def commit() -> None:
        manager = transaction.TransactionManager()
        db.open(manager).root()["a"] = 1
        try:
            manager.commit()
            outcome.append("committed")
        except zeotwisted.exceptions.ClientDisconnected as error:
            outcome.append(error)

    committing = threading.Thread(target=commit)
    committing.start()
    rest, _ = running.process.communicate(timeout=TIMEOUT)
    output = running.output + rest
    assert running.process.returncode == 1, output
    assert "storage '1' cannot be used any more, because the disk" in output
    assert not outcome, "nobody knows before the file is read again"
    (folder / "failing").unlink()
    again = start(folder, running.address[1])
    committing.join(TIMEOUT)
    db.close()
    reader.close()
    assert again.stop() == 0, again.output
    with DB(FileStorage(str(folder / "Data.fs"))).transaction() as connection:
        there = "a" in connection.root()
    assert there is (when == "after")
    if there:
        assert outcome == ["committed"]
    else:
        assert "the transaction is not committed" in str(outcome[0])
