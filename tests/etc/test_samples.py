"""The samples in ``etc`` start, and do what they say."""

from __future__ import annotations

import configparser
import os
import pwd
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ZODB.POSException import StorageError

import zeotwisted
from tests.daemon.conftest import ROOT, SCRIPTS, Running, commit, read
from tests.tls.certificates import Certificates
from zeotwisted.access import verifier, write_accounts
from zeotwisted.exceptions import AccessDenied

pytestmark = pytest.mark.timeout(120)

ETC = ROOT / "etc"
ME = pwd.getpwuid(os.getuid()).pw_name
TWISTD = (str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo")

Run = Callable[..., Running]


def test_every_sample_is_tested() -> None:
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    for path in ETC.rglob("*"):
        if path.is_file():
            assert f'"{path.name}"' in here or path.name in ("zeo.conf", "zeo.tac"), path


def test_several_storages(run: Run, folder: Path) -> None:
    text = (ETC / "several.conf").read_text()
    (folder / "zeo.conf").write_text(text.replace("8100", "0"))
    running = run(*TWISTD, "-C", "zeo.conf")
    for name in ("main", "catalog", "sessions"):
        with closing(zeotwisted.ClientStorage(running.address, storage=name)) as storage:
            assert storage.lastTransaction() == b"\0" * 8
    assert {"Main.fs", "Catalog.fs", "blobs"} <= set(os.listdir(folder))


def test_a_cache_for_a_host(run: Run, folder: Path) -> None:
    address, stop = zeotwisted.server(str(folder / "Data.fs"), str(folder / "main"))
    try:
        text = (ETC / "host-cache.conf").read_text()
        for old, new in (
            ("/var/cache/zeo", str(folder)),
            ("db.example.com:8100", f"{address[0]}:{address[1]}"),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "zeo.conf").write_text(text)
        # What its unit has systemd do, but the places.
        command = shlex.split(unit("zeo-host-cache.service")["Service"]["ExecStart"])
        assert command[-2:] == ["-C", "/etc/zeo/host-cache.conf"]
        program = str(SCRIPTS / Path(command[0]).name)
        running = run(program, *command[1:-1], "zeo.conf")
        assert running.address == str(folder / "zeo.sock")
        commit(running.address, "key", 7)
        assert read(running.address, "key") == read(address, "key") == 7
        assert "host-1.zec" in os.listdir(folder)
    finally:
        stop()


def test_production(run: Run, folder: Path, certificates: Certificates) -> None:
    (folder / "certs").mkdir()
    shutil.copy(certificates.authority.file, folder / "certs" / "authority.pem")
    for source, name in zip(certificates.server, ("server.pem", "server.key"), strict=True):
        shutil.copy(source, folder / "certs" / name)
    write_accounts(str(folder / "accounts"), {"zope1": verifier("secret", 4096)})
    text = (ETC / "production.conf").read_text()
    for old, new in (
        ("/var/lib/zeo", str(folder)),
        ("KEYS /etc/zeo", f"KEYS {folder}"),
        ("/run/zeo/zeo.sock", f"{folder}/zeo.sock"),
        ("0.0.0.0:8100", "127.0.0.1:0"),
        ("unix-user:zeo", f"unix-user:{ME}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "zeo.conf").write_text(text)
    running = run(*TWISTD, "-C", "zeo.conf", listeners=2)
    socket, port = running.addresses
    with closing(zeotwisted.ClientStorage(socket, read_only=True)) as storage:
        storage.pack()
    with pytest.raises(StorageError, match="may not write"):
        zeotwisted.ClientStorage(socket)
    context = ssl.create_default_context(cafile=str(certificates.authority.file))
    context.load_cert_chain(*certificates.client)
    with pytest.raises(AccessDenied, match="certificate:client has no role"):
        zeotwisted.ClientStorage(port, ssl=context)
    account = {"username": "zope1", "password": "secret"}
    with closing(zeotwisted.ClientStorage(port, ssl=context, **account)) as storage:
        assert not storage.is_read_only()


def unit(name: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(ETC / "systemd" / name)
    return parsed


def test_systemd_knows_the_units() -> None:
    """Where systemd is installed, it checks them."""
    assert unit("zeo.socket")["Socket"]["ListenStream"] == "127.0.0.1:8100"
    host = unit("zeo-host-cache.service")["Service"]
    folder = f"/var/cache/{host['CacheDirectory']}"
    assert f"DATA {folder}\n" in (ETC / "host-cache.conf").read_text()
    assert host["WorkingDirectory"] == folder
    assert unit("zeo.service")["Service"]["Type"] == host["Type"] == "notify"
    assert unit("zeo.service")["Service"]["TimeoutStartSec"] == "infinity", "it may read a Data.fs"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    names = ("zeo.socket", "zeo.service", "zeo-host-cache.service")
    units = [str(ETC / "systemd" / name) for name in names]
    ended = subprocess.run([analyze, "verify", *units], capture_output=True, text=True)
    problems = [
        line
        for line in (ended.stderr + ended.stdout).splitlines()
        if str(ETC) in line and "not executable" not in line and "Permission" not in line
    ]
    assert not problems


def test_the_unit_starts(run: Run, folder: Path) -> None:
    """Its command runs with a socket of a supervisor's, which it tells that it is ready."""
    command = shlex.split(unit("zeo.service")["Service"]["ExecStart"])
    command[0] = str(SCRIPTS / Path(command[0]).name)
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n"
        f"<filestorage 1>\npath {folder}/Data.fs\n</filestorage>\n"
    )
    command = [word.replace("/etc/zeo/zeo.conf", "zeo.conf") for word in command]
    program = (
        "import os, socket, sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); os.dup2(s.fileno(), 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='zeo.socket')\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    running = run(sys.executable, "-c", program, *command)
    commit(running.address, "x", 1)
    assert read(running.address, "x") == 1


def test_compose() -> None:
    text = (ETC / "container" / "compose.yaml").read_text()
    assert "dockerfile: etc/container/Containerfile" in text
    assert (ROOT / "etc/container/Containerfile").exists()
