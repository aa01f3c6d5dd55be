"""Sockets that systemd opens for the daemon; a launcher stands in for systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zeotwisted.config import parse_server_config
from zeotwisted.exceptions import ClientDisconnected

from .conftest import SCRIPTS, TIMEOUT, Running, commit, environment, read

pytestmark = pytest.mark.timeout(120)

#: Starts a command with sockets, as systemd does. Arguments: their descriptors, joined by commas;
#: their names, or "-"; the command. The first number may be that of a file.
_LAUNCHER = """
import fcntl, os, sys
numbers = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1].split(",")]
for target, number in enumerate(numbers, 3):
    os.dup2(number, target)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)))
if sys.argv[2] != "-":
    os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execv(sys.argv[3], sys.argv[3:])
"""

Launch = Callable[..., Running]


def command(sockets: list[socket.socket], names: str, *options: str) -> list[str]:
    numbers = ",".join(str(each.fileno()) for each in sockets)
    twistd = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", *options]
    return [sys.executable, "-c", _LAUNCHER, numbers, names, *twistd]


def launched(
    folder: Path, sockets: list[socket.socket], names: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        command(sockets, names, *options),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        pass_fds=[each.fileno() for each in sockets],
    )


@pytest.fixture
def launch(run: Callable[..., Running]) -> Launch:
    """Run the daemon with sockets that have names."""

    def start(
        sockets: list[socket.socket], names: str, *options: str, listeners: int = 1
    ) -> Running:
        # Above the numbers that the launcher uses.
        numbers = [each.fileno() for each in sockets]
        return run(*command(sockets, names, *options), listeners=listeners, pass_fds=numbers)

    return start


@pytest.fixture
def listening() -> Iterator[list[socket.socket]]:
    """Two listening sockets; their descriptors are not those that systemd uses."""
    with ExitStack() as stack:
        holes = [stack.enter_context(socket.socket()) for _ in range(8)]
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        assert all(each.fileno() > 4 for each in sockets) and holes
        yield sockets


@pytest.mark.parametrize("description", ["systemd:domain=INET:index=0", "systemd:index=0"])
@pytest.mark.parametrize("names", ["-", "zeo.socket:zeo.socket", "one:two"])
def test_first_of_two(
    launch: Launch, listening: list[socket.socket], description: str, names: str
) -> None:
    running = launch(listening, names, "--listen", description)
    assert running.address == listening[0].getsockname()
    commit(running.address, "a", 1)


def test_by_name(launch: Launch, listening: list[socket.socket]) -> None:
    running = launch(listening, "one:two", "--listen", "systemd:name=two")
    assert running.address == listening[1].getsockname()
    commit(running.address, "a", 1)


@pytest.mark.parametrize("names", ["-", "zeo.socket"])
def test_the_only_one(launch: Launch, listening: list[socket.socket], names: str) -> None:
    running = launch(listening[:1], names, "--listen", "systemd:")
    commit(running.address, "a", 1)
    assert read(running.address, "a") == 1


@pytest.fixture
def unix(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "s"))
        os.chmod(folder / "s", 0o640)
        sock.listen(100)
        yield sock


def test_unix_socket_keeps_its_permissions_and_stays(
    launch: Launch, unix: socket.socket, folder: Path
) -> None:
    """Twisted's own port lets all users in, and removes the file."""
    running = launch([unix], "-", "--listen", "systemd:domain=UNIX:index=0")
    commit(running.address, "a", 1)
    assert (folder / "s").stat().st_mode & 0o777 == 0o640
    assert running.stop() == 0
    assert (folder / "s").exists()
    assert read(launch([unix], "zeo.socket", "--listen", "systemd:").address, "a") == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connections_wait_for_the_next_daemon(
    launch: Launch,
    listening: list[socket.socket],
    unix: socket.socket,
    kind: str,
    signum: signal.Signals,
) -> None:
    passed = [listening[0] if kind == "tcp" else unix]
    running = launch(passed, "-", "--listen", "systemd:index=0")
    running.stop(signum)
    with ExitStack() as stack:
        waiting = []
        for _ in range(60):
            sock = stack.enter_context(socket.socket(passed[0].family))
            sock.settimeout(TIMEOUT)
            sock.connect(passed[0].getsockname())
            waiting.append(sock)
        launch(passed, "-", "--listen", "systemd:index=0")
        for sock in waiting:
            assert sock.recv(7).endswith(b"Z6"), "the greeting"


@pytest.mark.parametrize(
    ("description", "names", "expected"),
    [
        ("systemd:index=2", "-", "systemd passes no such socket; write an index from 0 to 1"),
        ("systemd:index=x", "-", "the index 'x' is no number; write systemd:index=0"),
        ("systemd:", "-", "systemd passes 2 sockets; write systemd:index=0 for the first"),
        ("systemd:name=a:index=0", "-", "write either index or name"),
        ("systemd:name=zeo", "a:b", "no socket has this name; write index=0, or one of: a, b"),
        ("systemd:name=zeo", "-", "no socket has this name; write index=0, or one of: (none)"),
        ("systemd:name=zeo", "zeo:zeo", "2 sockets have this name; write index=0"),
        ("systemd:domain=UNIX:index=0", "-", "write domain=INET, or no domain"),
        ("systemd:indx=0", "-", "there is no parameter indx; write systemd:index=0"),
        ("systemd:index=1", "-", "the socket does not listen; write ListenStream="),
    ],
)
def test_mistakes(folder: Path, description: str, names: str, expected: str) -> None:
    with ExitStack() as stack:
        holes = [stack.enter_context(socket.socket()) for _ in range(8)]
        first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        second = stack.enter_context(socket.socket())
        assert holes
        result = launched(folder, [first, second], names, "--listen", description)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"zeo: --listen {description}: ")
    assert expected in line


CONF = """\
<zeo>
  address systemd:name=two
  <listen>
    address systemd:index=0
    <access>
      read everybody
    </access>
  </listen>
</zeo>
<filestorage>
  path Data.fs
</filestorage>
"""


def test_sockets_in_a_configuration(
    launch: Launch, listening: list[socket.socket], folder: Path
) -> None:
    (folder / "zeo.conf").write_text(CONF)
    running = launch(listening, "one:two", "-C", "zeo.conf", listeners=2)
    first, second = (each.getsockname() for each in listening)
    assert running.addresses == [second, first]
    commit(second, "a", 1)
    assert read(first, "a", read_only=True) == 1
    with pytest.raises(ClientDisconnected, match="may not write"):
        commit(first, "a", 2)


def test_a_configuration_names_a_socket_that_is_missing(
    listening: list[socket.socket], folder: Path
) -> None:
    (folder / "zeo.conf").write_text(CONF)
    result = launched(folder, listening, "one:three", "-C", "zeo.conf")
    assert result.returncode == 1
    assert (
        "cannot listen at systemd:name=two: no socket has this name; write index=0, or one of: "
        "one, three\n"
    ) in result.stdout + result.stderr


def test_the_check_needs_no_sockets(listening: list[socket.socket], folder: Path) -> None:
    (folder / "zeo.conf").write_text(CONF)
    result = launched(folder, listening, "-", "-C", "zeo.conf", "--check-config")
    assert (result.returncode, result.stdout) == (0, "zeo: the configuration can be used\n")
    result = launched(folder, listening, "-", "-C", "zeo.conf", "--show-config")
    assert "listen systemd:name=two  # zeo.conf" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("systemd:index=one", "the index 'one' is no number; write systemd:index=0"),
        ("systemd:fd=3", "there is no parameter fd; write systemd:index=0"),
        ("systemd:index=0:name=a", "it has both; write either index or name"),
    ],
)
def test_mistakes_in_a_configuration(
    listening: list[socket.socket], folder: Path, description: str, expected: str
) -> None:
    (folder / "zeo.conf").write_text(CONF.replace("systemd:name=two", description))
    result = launched(folder, listening, "-", "-C", "zeo.conf")
    assert (result.returncode, result.stderr) == (
        1,
        f"zeo: zeo.conf, line 2: address: {description!r}: {expected}\n",
    )


def test_a_host_of_that_name() -> None:
    config = parse_server_config(CONF.replace("systemd:name=two", "systemd:8100"))
    assert config.listeners[0].address == ("systemd", 8100)
