"""A Unix socket that nobody serves any more is replaced, and no other."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.selectreactor import SelectReactor

from zeotwisted.transport.unixsocket import UnixSocketEndpoint, unix_endpoint

REACTOR = SelectReactor()


def listen(path: Path) -> Any:
    """Return what comes of listening at `path`: a port, or an exception."""
    results: list[Any] = []
    endpoint = UnixSocketEndpoint(REACTOR, str(path), 5, 0o600)
    listening: Deferred[Any] = endpoint.listen(Factory())
    listening.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results[0]


def stop(port: Any) -> None:
    """Close a port."""
    closed: list[Any] = []
    port.stopListening().addCallback(closed.append)
    while not closed:
        REACTOR.iterate(0)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


@pytest.mark.parametrize("pid", ["1", "own", "nonsense", None])
def test_left_behind(tmp_path: Path, pid: str | None) -> None:
    """Whatever process the lock of the one that was killed names."""
    path = tmp_path / "zeo.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    if pid is not None:
        os.symlink(str(os.getpid()) if pid == "own" else pid, f"{path}.lock")
    port = listen(path)
    assert answers(path)
    assert path.stat().st_mode & 0o777 == 0o600
    stop(port)
    assert not path.exists()


def test_another_program_serves_it(tmp_path: Path) -> None:
    path = tmp_path / "zeo.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        error = listen(path)
        assert isinstance(error, OSError) and "in use" in str(error)
        assert answers(path)


def test_another_program_is_too_busy_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zeotwisted.transport.unixsocket._ANSWER", 0.05)
    path = tmp_path / "zeo.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(0)
        waiting.connect(str(path))
        error = listen(path)
        assert isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        assert path.exists()


def test_two_of_us(tmp_path: Path) -> None:
    path = tmp_path / "zeo.sock"
    first = listen(path)
    error = listen(path)
    assert isinstance(error, OSError) and "in use" in str(error)
    assert answers(path)
    stop(first)
    second = listen(path)
    assert answers(path)
    stop(second)


def test_other_file_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "zeo.sock"
    path.write_text("precious")
    error = listen(path)
    assert isinstance(error, OSError) and error.strerror == "it is not a socket"
    assert path.read_text() == "precious"


def test_link_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "zeo.sock"
    path.symlink_to("nothing")
    error = listen(path)
    assert isinstance(error, OSError) and error.strerror == "it is a link to nothing"
    assert path.is_symlink()


def test_socket_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "zeo.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        error = listen(path)
    assert isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    assert path.exists()


def test_missing_folder(tmp_path: Path) -> None:
    assert isinstance(listen(tmp_path / "none" / "zeo.sock"), (OSError, CannotListenError))


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("unix:/run/zeo.sock", ("/run/zeo.sock", 7, 0o666)),
        ("unix:address=/run/zeo.sock:mode=660:lockfile=0", ("/run/zeo.sock", 7, 0o660)),
        (r"unix:/run/a\:b:backlog=3", ("/run/a:b", 3, 0o666)),
        ("tcp:8100", None),
        ("unix:", ("", 7, 0o666)),
        ("unix:/run/zeo.sock:mode=rw", None),
        ("unix:/run/zeo.sock:colour=red", None),
    ],
)
def test_description(description: str, expected: tuple[str, int, int] | None) -> None:
    endpoint = unix_endpoint(None, description, 7)
    found = endpoint and (endpoint._path, endpoint._backlog, endpoint._mode)
    assert found == expected
