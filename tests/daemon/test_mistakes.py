"""Whatever is wrong with a start is told in one line that says what to do; then it is over."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ZODB
from ZODB.FileStorage import FileStorage

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, commit, environment, read

pytestmark = pytest.mark.timeout(180)

_LOG_LINE = re.compile(r"^\S+ \[(?P<who>[^\]]*)\] (?P<text>.*)$")


def complaints(output: str) -> list[str]:
    """Return what a process that failed had to say, without its news of the day."""
    lines = []
    for line in output.splitlines():
        match = _LOG_LINE.match(line)
        if match is None:
            lines.append(line)
        elif match["who"].startswith("stderr"):
            lines.append(match["text"])
    return lines


def refused(
    folder: Path, *arguments: str, command: str = "twistd -n", more_path: Path | None = None
) -> str:
    """Start, in vain; return the one line that says why."""
    name, *options = command.split()
    variables = environment()
    if more_path is not None:
        variables["PYTHONPATH"] = os.pathsep.join([str(more_path), variables["PYTHONPATH"]])
    result = subprocess.run(
        [SCRIPTS / name, *options, *arguments],
        cwd=folder,
        env=variables,
        timeout=TIMEOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout
    assert "starting up" not in result.stdout or not (folder / "twistd.pid").exists()
    (line,) = complaints(result.stdout)
    return line


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.mark.parametrize("command", ["twistd -n", "twist"])
def test_port_in_use(folder: Path, busy_port: int, command: str) -> None:
    place = f"tcp:{busy_port}:interface=127.0.0.1"
    line = refused(folder, "zeo", "--listen", place, command=command)
    assert line == (
        f"cannot listen at {place}: it is in use; "
        "stop the process that has it, or choose another address"
    )


def test_port_in_use_in_the_background(folder: Path, busy_port: int) -> None:
    # Whoever is started holds the other end, so that the end of the last process can be seen.
    held, holding = os.pipe()
    result = subprocess.run(
        [SCRIPTS / "twistd", "zeo", "--listen", f"tcp:{busy_port}:interface=127.0.0.1"],
        cwd=folder,
        env=environment(),
        timeout=TIMEOUT,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=[holding],
    )
    os.close(holding)
    with open(held, "rb") as ended:
        assert ended.read() == b""
    assert result.returncode == 1
    # Twisted adds a text of its own, which cuts ours off.
    assert (
        f"cannot listen at tcp:{busy_port}:interface=127.0.0.1: it is in use; "
        "stop the process that has it, or choose another address"
    ) in result.stderr.splitlines()
    log = (folder / "twistd.log").read_text()
    assert "stop the process that has it" in log
    assert "Traceback" not in log + result.stdout + result.stderr
    assert not (folder / "twistd.pid").exists()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("tcp:0:interface=192.0.2.1", "this machine has no such address"),
        ("unix:missing/s", "create it"),
        ("foo:1", "Unknown endpoint type: 'foo'; write a Twisted endpoint"),
        ("tcp", "an argument is missing"),
        ("tcp:0:wrong=1", "an argument is missing, or is one too many"),
        ("tcp:many", "'many' is no number; write a Twisted endpoint"),
        ("", "write a Twisted endpoint"),
        ("ssl:0", "write a Twisted endpoint"),
        ("systemd:domain=INET:index=0", "systemd passes no such socket"),
    ],
)
def test_bad_endpoint(folder: Path, place: str, expected: str) -> None:
    line = refused(folder, "zeo", "--listen", place)
    assert place in line
    assert expected in line


@pytest.mark.parametrize("there", [True, False])
def test_file_that_is_being_restored(folder: Path, there: bool) -> None:
    if there:
        FileStorage(str(folder / "Data.fs")).close()
    (folder / "Data.fs.part").write_bytes(b"FS30")
    assert refused(folder, "zeo", *ANYWHERE) == (
        f"cannot open storage '1': it is being restored, as {folder}/Data.fs.part exists; "
        "wait until repozo has ended, or remove that file if repozo does not run"
    )
    assert (folder / "Data.fs").exists() == there


def test_file_that_is_being_restored_below_another_storage(folder: Path) -> None:
    (folder / "Data.fs.part").write_bytes(b"FS30")
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n<demostorage 1>\n<mappingstorage changes>\n"
        "</mappingstorage>\n<filestorage base>\npath Data.fs\n</filestorage>\n</demostorage>\n"
    )
    assert "it is being restored" in refused(folder, "zeo", "-C", "zeo.conf")
    assert not (folder / "Data.fs").exists()


@pytest.mark.parametrize("option", [[], ["--check-config"]])
def test_file_whose_pack_was_killed_while_it_renamed(folder: Path, option: list[str]) -> None:
    """A new file in its place would hide all data, and the next pack would remove it."""
    for name in ("Data.fs.old", "Data.fs.pack"):
        FileStorage(str(folder / name)).close()
    line = refused(folder, "zeo", *ANYWHERE, *option)
    assert (
        f"{folder}/Data.fs does not exist, but {folder}/Data.fs.old and {folder}/Data.fs.pack do, "
        f"since a pack was killed; rename {folder}/Data.fs.old to {folder}/Data.fs, and remove "
        f"{folder}/Data.fs.pack"
    ) in line
    assert not (folder / "Data.fs").exists()


def test_socket_in_use(folder: Path, daemon: Callable[..., Running]) -> None:
    place = f"unix:{folder / 's'}"
    running = daemon("--listen", place)
    line = refused(folder, "zeo", "--listen", place, "--file", "other.fs")
    assert line.startswith(f"cannot listen at {place}: it is in use; ")
    commit(running.address, "a", 1)


def test_second_daemon_does_not_disturb_the_first(
    folder: Path, daemon: Callable[..., Running]
) -> None:
    running = daemon(*ANYWHERE)
    commit(running.address, "a", 1)
    assert refused(folder, "zeo", *ANYWHERE) == (
        "cannot open storage '1': Data.fs is locked, since another process has it open; "
        "stop that process, or serve another file"
    )
    place = f"tcp:{running.address[1]}:interface=127.0.0.1"
    assert "it is in use" in refused(folder, "zeo", "--listen", place, "--file", "other.fs")
    assert read(running.address, "a") == 1
    commit(running.address, "a", 2)
    assert read(running.address, "a") == 2


def test_two_storages_with_one_file(folder: Path) -> None:
    line = refused(folder, "zeo", *ANYWHERE, "-s", "a=x.fs", "-s", "b=./x.fs")
    assert line.startswith("cannot open storage 'b': ./x.fs is locked")


def test_missing_folder(folder: Path) -> None:
    line = refused(folder, "zeo", *ANYWHERE, "--file", "missing/Data.fs")
    assert line == (
        f"zeo: missing/Data.fs: the folder {folder / 'missing'} does not exist; "
        "create it, or choose another one"
    )


def test_folder_instead_of_a_file(folder: Path) -> None:
    (folder / "d").mkdir()
    line = refused(folder, "zeo", *ANYWHERE, "--file", "d")
    assert line == f"cannot open storage '1': {folder / 'd'}: Is a directory; check the path"


def test_file_instead_of_a_blob_directory(folder: Path) -> None:
    (folder / "b").write_text("")
    line = refused(folder, "zeo", *ANYWHERE, "--file", "x.fs", "--blob-dir", "b")
    assert line == f"cannot open storage '1': {folder / 'b'}: Not a directory; check the path"


def test_other_file(folder: Path) -> None:
    (folder / "x.fs").write_text("hello")
    line = refused(folder, "zeo", *ANYWHERE, "--file", "x.fs")
    assert line == "cannot open storage '1': x.fs is not a file of a FileStorage; check the path"
    assert (folder / "x.fs").read_text() == "hello"


def test_corrupt_file(folder: Path) -> None:
    path = folder / "x.fs"
    ZODB.DB(FileStorage(str(path))).close()
    (folder / "x.fs.index").unlink(missing_ok=True)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    line = refused(folder, "zeo", *ANYWHERE, "--file", "x.fs")
    assert line.startswith("cannot open storage '1': x.fs cannot be read (")
    assert line.endswith("; check the path, or restore the file from a backup")
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--invalidation-queue-size many", "--invalidation-queue-size many: write a whole number"),
        ("--invalidation-queue-size 0", "--invalidation-queue-size 0: write a whole number"),
        ("--invalidation-age -1", "--invalidation-age -1: write a number of seconds"),
        ("--invalidation-age inf", "--invalidation-age inf: write a number of seconds"),
        ("--transaction-timeout -1", "--transaction-timeout -1: write a number of seconds"),
        ("-t nan", "--transaction-timeout nan: write a number of seconds"),
        ("--client-timeout -1", "--client-timeout -1: write a number of seconds"),
        ("--message-limit 3", "--message-limit 3: write a size from 64KB"),
        ("--spool-dir nowhere", "--spool-dir nowhere: create the directory, or correct"),
        ("--protocol-limit 7", "--protocol-limit 7: write 5 or 6"),
        ("--nonsense", "option --nonsense not recognized"),
        ("--file", "option --file requires argument"),
        ("nonsense", "nonsense: there are no arguments but options"),
        ("-s a=b -s a=c", "--storage a=c: there are two storages named a"),
        ("-s a", "--storage a: write NAME=PATH"),
        ("-f x -s 1=y", "--file is storage 1"),
        ("-b x -s a=b", "--blob-dir belongs to --file"),
        ("-C zeo.conf -f x", "--conf: --file cannot be given with it; write it into zeo.conf"),
    ],
)
def test_bad_options(folder: Path, options: str, expected: str) -> None:
    line = refused(folder, "zeo", *options.split())
    assert line.startswith(f"zeo: {expected}")
    assert "`twistd zeo --help`" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<zeo>\naddress 127.0.0.1:0\nnew 1\n</zeo>", "line 3: 'new' is not a known key name"),
        ("<zeo>\naddress 127.0.0.1:many\n</zeo>", "line 2: address: "),
        ("<zeo>\naddress 127.0.0.1:0\n</zeo>", ""),
        ("<zeo>\naddress 127.0.0.1:0\n", ""),
        (
            "<zeo>\naddress 127.0.0.1:0\n</zeo>\n"
            "<filestorage>\npath missing/a.fs\n</filestorage>\n",
            "line 5: path: ",
        ),
        (
            "<zeo>\naddress 127.0.0.1:0\n</zeo>\n"
            "<mappingstorage a>\n</mappingstorage>\n<mappingstorage a>\n</mappingstorage>\n",
            "",
        ),
    ],
)
def test_bad_conf(folder: Path, text: str, expected: str) -> None:
    (folder / "my.conf").write_text(text)
    line = refused(folder, "zeo", "--conf", "my.conf")
    assert line.startswith("zeo: my.conf")
    assert expected in line
    assert "; " in line


EVENTLOG = """
<zeo>
  address 127.0.0.1:0
</zeo>
<mappingstorage>
</mappingstorage>
<eventlog>
  level info
  <logfile>
    path missing/zeo.log
  </logfile>
</eventlog>
"""


@pytest.mark.parametrize("command", ["twistd -n", "twistd", "twist"])
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "",
            "",
            "line 9: <logfile>: path: the folder {folder}/missing does not exist; create it, or "
            "choose another one",
        ),
        (
            "missing/zeo.log",
            "{folder}",
            "line 9: <logfile>: path: {folder} is a folder; write the path of a file",
        ),
        (
            "missing/zeo.log",
            "zeo.conf/zeo.log",
            "line 9: <logfile>: path: {folder}/zeo.conf is a file, not a folder; choose another "
            "path",
        ),
        (
            "level info",
            "level verbose",
            "line 8: level: 'verbose' is not a level of the log; write critical, error, warn, "
            "info, debug or all",
        ),
        ("</zeo>", "", "line 5: <zeo> of line 2 is not closed; add a line </zeo> after its keys"),
    ],
)
def test_bad_eventlog(folder: Path, command: str, old: str, new: str, expected: str) -> None:
    text = EVENTLOG.replace(old, new.format(folder=folder)) if old else EVENTLOG
    (folder / "zeo.conf").write_text(text)
    line = refused(folder, "zeo", "-C", "zeo.conf", command=command)
    assert line == "zeo: zeo.conf, " + expected.format(folder=folder)


def test_eventlog_that_cannot_be_set_up(folder: Path) -> None:
    text = EVENTLOG.replace("missing/zeo.log", "zeo.log\n    when Never\n    old-files 3")
    (folder / "zeo.conf").write_text(text)
    line = refused(folder, "zeo", "-C", "zeo.conf")
    assert line == (
        "zeo: <eventlog>: Invalid rollover interval specified: NEVER; correct that section"
    )


@pytest.mark.parametrize("command", ["twistd -n", "twistd"])
@pytest.mark.parametrize("option", ["--logfile", "--pidfile"])
def test_file_of_twistd_that_cannot_be_written(folder: Path, command: str, option: str) -> None:
    line = refused(folder, "zeo", *ANYWHERE, command=f"{command} {option} missing/x")
    assert line == (
        f"zeo: {option} missing/x: the folder {folder / 'missing'} does not exist; "
        "create it, or choose another one"
    )
    line = refused(folder, "zeo", *ANYWHERE, command=f"{command} {option} .")
    assert line == f"zeo: {option} .: {folder} is a folder; write the path of a file"


def test_default_log_that_cannot_be_written(folder: Path) -> None:
    (folder / "twistd.log").mkdir()
    line = refused(folder, "zeo", *ANYWHERE, command="twistd")
    assert line == (
        f"zeo: --logfile twistd.log: {folder / 'twistd.log'} is a folder; write the path of a file"
    )


@pytest.mark.parametrize(
    ("packer", "what"),
    [
        ("missing_package.pack", "ModuleNotFoundError: No module named 'missing_package'"),
        ("os.nothing", "AttributeError: module 'os' has no attribute 'nothing'"),
    ],
)
def test_packer_that_is_missing(folder: Path, packer: str, what: str) -> None:
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n"
        f"<filestorage>\npath x.fs\npacker {packer}\n</filestorage>\n"
    )
    assert refused(folder, "zeo", "-C", "zeo.conf") == (
        f"cannot open storage '1': packer {packer} cannot be used ({what}); "
        "install its package, or correct the line"
    )


def test_missing_conf(folder: Path) -> None:
    assert refused(folder, "zeo", "--conf", "my.conf") == (
        "zeo: my.conf: cannot be read: No such file or directory; check the path"
    )


def test_pid_file_that_cannot_be_written(folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "my.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\npid-filename d\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"
    )
    line = refused(folder, "zeo", "--conf", "my.conf")
    assert line == "cannot write d: Is a directory; correct pid-filename"


def test_storage_that_cannot_be_served(folder: Path) -> None:
    (folder / "zeo.conf").write_text(
        "%import tests.storageserver.mvcc\n<zeo>\n address 127.0.0.1:0\n</zeo>\n"
        "<demostorage main>\n<mvccstorage>\n closed closed\n</mvccstorage>\n</demostorage>\n"
    )
    line = refused(folder, "zeo", "--conf", "zeo.conf")
    assert line.startswith("cannot serve storage 'main': it is a DemoStorage around a Storage")
    assert (folder / "closed").exists()


def test_application_with_a_storage_that_cannot_be_served(folder: Path) -> None:
    (folder / "zeo.tac").write_text(
        "from twisted.application.service import Application\n"
        "from twisted.internet import reactor\n"
        "from tests.storageserver.mvcc import Storage\n"
        "from ZODB.DemoStorage import DemoStorage\n"
        "from zeotwisted.storageserver.service import StorageServer\n"
        "application = Application('zeo')\n"
        "storage = DemoStorage(base=Storage())\n"
        "StorageServer(reactor, {'main': storage}).setServiceParent(application)\n"
    )
    result = subprocess.run(
        [SCRIPTS / "twistd", "-n", "-y", "zeo.tac"],
        cwd=folder,
        env=environment(),
        timeout=TIMEOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Failed to load")]
    assert "cannot serve storage 'main': it is a DemoStorage around a Storage" in line


@pytest.mark.parametrize("number", ["0", "-1", "4294967296", "9" * 30])
def test_file_with_a_number_that_no_process_has(folder: Path, number: str) -> None:
    (folder / "twistd.pid").write_text(number)
    line = refused(folder, "zeo", *ANYWHERE)
    assert line == "zeo: twistd.pid has no process number in it; remove it"


def test_storage_that_runs_the_reactor(folder: Path) -> None:
    (folder / "taking").mkdir()
    (folder / "taking" / "__init__.py").write_text(
        "import threading\n"
        "from ZODB.MappingStorage import MappingStorage\n"
        "def run():\n"
        "    from twisted.internet import reactor\n"
        "    reactor.run(False)\n"
        "class Opener:\n"
        "    def __init__(self, config):\n"
        "        self.config = config\n"
        "        self.name = config.getSectionName()\n"
        "    def open(self):\n"
        "        threading.Thread(target=run).start()\n"
        "        return MappingStorage()\n"
    )
    (folder / "taking" / "component.xml").write_text(
        '<component>\n<sectiontype name="taking" implements="ZODB.storage" '
        'datatype="taking.Opener"/>\n</component>\n'
    )
    (folder / "zeo.conf").write_text(
        "%import taking\n<zeo>\n address 127.0.0.1:0\n</zeo>\n"
        "<demostorage main>\n<taking>\n</taking>\n</demostorage>\n"
    )
    line = refused(folder, "zeo", "--conf", "zeo.conf", more_path=folder)
    assert line.startswith("cannot serve storage 'main': it runs Twisted's reactor in a thread")
    assert line.endswith("; leave it to ZEO's runzeo, or serve another kind")


@pytest.mark.parametrize("named", ["this test", "nothing"])
def test_file_with_the_number_of_a_process(folder: Path, named: str) -> None:
    number = str(os.getpid()) if named == "this test" else "x"
    (folder / "twistd.pid").write_text(number)
    line = refused(folder, "zeo", *ANYWHERE)
    if named == "this test":
        assert f"twistd.pid names process {number} (" in line
        assert "twistd --pidfile=OTHER.pid zeo" in line
    else:
        assert line == "zeo: twistd.pid has no process number in it; remove it"
    assert (folder / "twistd.pid").read_text() == number


def test_second_daemon_in_a_folder(run: Callable[..., Running], folder: Path) -> None:
    first = run(str(SCRIPTS / "twistd"), "-n", "zeo", *ANYWHERE)
    line = refused(folder, "zeo", *ANYWHERE)
    assert f"names process {first.process.pid} (" in line and "--pidfile=" in line
    assert read(first.address, "x") is None
