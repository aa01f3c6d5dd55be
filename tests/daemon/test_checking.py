"""``--check-config`` and ``--show-config``; and the warning of an open door."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tls.certificates import Certificates, ssl_section
from tests.tls.conftest import certificates
from zeotwisted.access import Access
from zeotwisted.daemon.exposure import Place, endpoint_host, exposed

from .conftest import SCRIPTS, TIMEOUT, Running, daemon, environment, folder, run

__all__ = ["certificates", "daemon", "folder", "run"]

GOOD = """<zeo>
  address 127.0.0.1:0
  transaction-timeout 30
</zeo>
<filestorage>
  path Data.fs
</filestorage>
"""


def zeo(folder: Path, *options: str, **variables: str) -> tuple[int, list[str]]:
    """Run it to its end; return its exit code and its lines."""
    result = subprocess.run(
        [SCRIPTS / "twistd", "-n", "zeo", *options],
        cwd=folder,
        env=environment(**variables),
        timeout=TIMEOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stdout
    return result.returncode, result.stdout.splitlines()


def check(folder: Path, text: str, *options: str) -> tuple[int, list[str]]:
    (folder / "zeo.conf").write_text(text)
    return zeo(folder, "-C", "zeo.conf", "--check-config", *options)


def test_nothing_is_opened(folder: Path) -> None:
    assert check(folder, GOOD) == (0, ["zeo: the configuration can be used"])
    assert os.listdir(folder) == ["zeo.conf"]


def test_all_mistakes(folder: Path) -> None:
    text = GOOD.replace("30", "soon\n  invalidation-queue-size 0\n  colour red")
    code, lines = check(folder, text)
    assert code == 1
    assert sorted(line.partition(": ")[2][:16] for line in lines) == [
        "zeo.conf, line 3",
        "zeo.conf, line 4",
        "zeo.conf, line 5",
    ]


def test_places(folder: Path, certificates: Certificates) -> None:
    (folder / "Data.fs").write_bytes(b"something else")
    (folder / "blobs").write_text("a file")
    (folder / "nosocket").write_text("a file")
    listen = f"<listen>\naddress {folder}/nosocket\n</listen>\n"
    ssl = "\n".join(ssl_section((certificates.server[0], certificates.client[1])))
    text = (
        GOOD.replace("127.0.0.1:0", "192.0.2.1:0")
        .replace("</zeo>", f"{listen}{ssl}\n</zeo>")
        .replace("Data.fs", "Data.fs\n  blob-dir blobs")
    )
    code, lines = check(folder, text)
    assert code == 1
    output = "\n".join(lines)
    for expected in (
        "line 2: address: this machine has no address 192.0.2.1; choose one that it has",
        f"line 5: address: {folder}/nosocket is there, and is no socket; ",
        "<ssl>: no authenticate",
        "path: ",
        f"blob-dir: {folder}/blobs is no folder; correct the path",
    ):
        assert expected in output
    assert "belong together" in output
    assert len(lines) == 6


def test_a_key_of_another_certificate(folder: Path, certificates: Certificates) -> None:
    files = certificates.server[0], certificates.client[1]
    ssl = "\n".join(ssl_section(files, certificates.authority.file))
    code, (line,) = check(folder, GOOD.replace("</zeo>", f"{ssl}\n</zeo>"))
    assert code == 1
    assert "belong together" in line


def test_options_and_the_environment_are_checked(folder: Path) -> None:
    assert zeo(folder, "--check-config")[0] == 0
    code, (warning, line) = zeo(folder, "--check-config", "--listen", "tcp:0:interface=192.0.2.1")
    assert " is an open door: " in warning
    assert (code, "this machine has no address" in line) == (1, True)
    code, (line,) = zeo(folder, "--check-config", "--listen", "tcp:x")
    assert (code, "write a Twisted endpoint" in line) == (1, True)
    code, (line,) = zeo(folder, "--check-config", ZEO_TRANSACTION_TIMEOUT="soon")
    assert (code, line.startswith("zeo: ZEO_TRANSACTION_TIMEOUT=soon: ")) == (1, True)
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("given", "variables", "start"),
    [
        (["--log-level", "loud"], {}, "zeo: --log-level loud: 'loud' is not a level of the log"),
        ([], {"ZEO_LOG_LEVEL": "loud"}, "zeo: ZEO_LOG_LEVEL=loud: 'loud' is not a level"),
        ([], {"ZEO_LOG_JSON": "perhaps"}, "zeo: ZEO_LOG_JSON=perhaps: write on or off"),
    ],
)
@pytest.mark.parametrize("with_file", [False, True])
def test_the_form_of_the_log_is_checked(
    folder: Path, given: list[str], variables: dict[str, str], start: str, with_file: bool
) -> None:
    if with_file:
        (folder / "zeo.conf").write_text(GOOD)
        given = [*given, "-C", "zeo.conf"]
    code, (line,) = zeo(folder, "--check-config", *given, **variables)
    assert (code, line[: len(start)]) == (1, start)


def test_options_win(daemon: Callable[..., Running], folder: Path) -> None:
    (folder / "zeo.conf").write_text(GOOD)
    code, lines = zeo(folder, "-C", "zeo.conf", "--show-config", "-t", "60", ZEO_CLIENT_TIMEOUT="7")
    assert code == 0
    assert "transaction-timeout 60  # option --transaction-timeout" in lines
    assert "client-timeout 7  # environment variable ZEO_CLIENT_TIMEOUT" in lines
    assert "read-only off  # default" in lines
    assert lines[-5:-3] == ["log-level info  # default", "log-json off  # default"]
    assert "listen 127.0.0.1:0  # zeo.conf" in lines
    _, lines = zeo(folder, "-C", "zeo.conf", "--show-config", "--listen", "unix:s")
    assert "transaction-timeout 30  # zeo.conf, line 3" in lines
    assert "listen unix:s  # option --listen" in lines
    (folder / "zeo.conf").write_text(GOOD.replace("</zeo>", "log-level info,ZODB=warn\n</zeo>"))
    _, lines = zeo(folder, "-C", "zeo.conf", "--show-config", "--log-json", ZEO_LOG_JSON="off")
    assert "log-level info,ZODB=warn  # zeo.conf, line 4" in lines
    assert "log-json on  # option --log-json" in lines
    running = daemon("-C", "zeo.conf", "--listen", f"unix:{folder}/s")
    assert running.addresses == [f"{folder}/s"]


def test_an_open_door_is_said(daemon: Callable[..., Running], folder: Path) -> None:
    code, lines = check(folder, GOOD.replace("127.0.0.1:0", "0"))
    assert code == 0
    assert lines[0].startswith("zeo: warning: :0 is an open door: ")
    (folder / "zeo.conf").write_text(GOOD.replace("127.0.0.1:0", "0"))
    assert " is an open door: " in daemon("-C", "zeo.conf").output


@pytest.mark.parametrize(
    ("place", "access", "expected"),
    [
        ({"host": ""}, None, True),
        ({"host": "::"}, None, True),
        ({"host": "zeo.example"}, None, True),
        ({"host": "127.0.0.2"}, None, False),
        ({"host": "::1"}, None, False),
        ({"host": "localhost"}, None, False),
        ({}, None, False),
        ({"host": "", "needs_certificate": True}, None, False),
        ({"host": ""}, Access({}, {}, {}, None, ""), False),
    ],
)
def test_exposed(place: dict[str, Any], access: Access | None, expected: bool) -> None:
    endpoint: Any = None
    assert (exposed(Place("here", endpoint, **place), access) is not None) == expected


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("tcp:8100", ""),
        ("tcp:8100:interface=127.0.0.1", "127.0.0.1"),
        (r"tcp6:8100:interface=\:\:1", "::1"),
        ("ssl:8100", ""),
        ("unix:/s", None),
        ("systemd:domain=INET:index=0", None),
    ],
)
def test_hosts_of_endpoints(description: str, expected: str | None) -> None:
    assert endpoint_host(description) == expected
