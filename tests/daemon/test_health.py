"""``zeotwisted health``, against daemons and against others."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, environment

pytestmark = pytest.mark.timeout(60)


def health(*arguments: str) -> tuple[int, str]:
    """Run it; return the exit code, and its only line."""
    result = subprocess.run(
        [str(SCRIPTS / "zeotwisted"), "health", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    (line,) = result.stdout.splitlines()
    return result.returncode, line


def test_a_daemon_that_serves(daemon: Callable[..., Running], folder: Path) -> None:
    path = f"{folder}/s"
    options = ("--storage", "temp=T.fs", "--file", "Data.fs", "--listen", f"unix:{path}")
    running = daemon(*ANYWHERE, *options, listeners=2)
    port = running.address[1]
    for address in (f"127.0.0.1:{port}", str(port), path):
        code, line = health(address)
        assert line == f"{address} serves 1 (0 clients), temp (0 clients)"
        assert code == 0
    running.stop()
    assert health(str(port)) == (
        1,
        f"zeotwisted: {port}: Connection refused; start the server, or correct the address",
    )


def test_tls(daemon: Callable[..., Running], folder: Path) -> None:
    make = [str(SCRIPTS / "zeotwisted"), "certs", "127.0.0.1", "--client", "probe"]
    made = subprocess.run(
        make, cwd=folder, env=environment(), check=True, timeout=TIMEOUT, capture_output=True
    )
    assert b"probe.pem" in made.stdout
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n<ssl>\ncertificate server.pem\nkey server.key\n"
        "authenticate authority.pem\n</ssl>\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
    )
    running = daemon("-C", "zeo.conf")
    address = f"127.0.0.1:{running.address[1]}"
    ours = ("--certificate", str(folder / "probe.pem"), "--key", str(folder / "probe.key"))
    authority = ("--ca", str(folder / "authority.pem"))
    assert health(address, *authority, *ours) == (0, f"{address} serves 1 (0 clients)")
    for wrong in (authority, ("--ca", str(folder / "probe.pem"), *ours)):
        code, line = health(address, *wrong)
        assert code == 1
        assert f"zeotwisted: {address}: TLS fails" in line
    code, line = health(address)
    assert code == 1
    assert "give --ca if it uses TLS" in line or "no answer within" in line


def test_a_server_that_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        code, line = health(str(silent.getsockname()[1]), "--timeout", "0.5")
        assert time.monotonic() - begun < 10
    assert code == 1
    assert "no answer within 0.5 seconds; look into the server's log, or correct the addr" in line
    assert line.endswith("if it is that of --http, and give --ca if it uses TLS")


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH\r\n", b"", struct.pack(">I", 2) + b"Z6" + struct.pack(">I", 2) + b"[]"],
)
def test_another_program(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        command = [str(SCRIPTS / "zeotwisted"), "health", str(other.getsockname()[1])]
        asking = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        peer, _ = other.accept()
        peer.sendall(answer)
        # Where the first bytes are wrong, the command may have ended by now.
        with suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        _, errors = asking.communicate(timeout=TIMEOUT)
        peer.close()
    assert asking.returncode == 1
    (line,) = errors.splitlines()
    assert "no answer of a ZEO server; correct the address if it is that of --http, and giv" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["here"], "here: write host:port, a port, or a path with a slash in it"),
        (["1:0"], "1:0: write host:port"),
        (["1", "--timeout", "0"], "--timeout: write a number of seconds above 0"),
        (["1", "--timeout", "nan"], "--timeout: write a number of seconds above 0"),
        (["1", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file or directory; correct"),
        (["1", "--certificate", "x"], "--certificate and --key need --ca"),
        (["/nowhere/s"], "/nowhere/s: No such file or directory; start the server"),
    ],
)
def test_mistakes(arguments: list[str], expected: str) -> None:
    code, line = health(*arguments)
    assert code == 1
    assert line.startswith(f"zeotwisted: {expected}")
