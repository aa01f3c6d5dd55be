"""``--http`` and the section ``<http>``, with real daemons."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clientstorage.support import wait_until
from tests.storageserver.conftest import RawClient
from tests.tls.certificates import Certificates
from zeotwisted.access import verifier, write_accounts

from .conftest import ANYWHERE, TIMEOUT, Running, commit, daemon, folder, run, wait_for
from .test_checking import zeo

__all__ = ["daemon", "folder", "run"]

Daemon = Callable[..., Running]
STORAGE = "<filestorage>\n  path Data.fs\n</filestorage>\n"


def place(running: Running) -> tuple[str, int]:
    """Return where the daemon answers requests of HTTP."""
    wait_for(running, "http at IPv")
    match = re.search(
        r"http at IPv.Address\(type='TCP', host='(.*?)', port=(.*?)\)", running.output
    )
    assert match is not None
    return match[1], int(match[2])


def get(running: Running, path: str, scheme: str = "http", **options: Any) -> tuple[int, str]:
    """Return status and body."""
    host, port = place(running)
    url = f"{scheme}://{host}:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT, **options) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_port_is_this_machines_only(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--http", "0")
    assert place(running)[0] == "127.0.0.1"
    commit(running.address, "a", 1)
    assert get(running, "/ready") == (200, "ready\n")
    assert 'zeo_commits_total{storage="1"} 2.0' in get(running, "/metrics")[1]


@pytest.mark.parametrize("text", ["tcp:0", "tcp:0:backlog=5"])
def test_an_endpoint_without_an_interface_is_this_machines_only(daemon: Daemon, text: str) -> None:
    assert place(daemon(*ANYWHERE, "--http", text))[0] == "127.0.0.1"


def test_the_environment_and_a_file(daemon: Daemon, folder: Path) -> None:
    from .conftest import environment

    running = daemon(*ANYWHERE, env=environment(ZEO_HTTP="0"))
    assert get(running, "/live")[0] == 200
    running.stop()
    conf = f"<zeo>\n  address 127.0.0.1:0\n  <http>\n    address 0\n  </http>\n</zeo>\n{STORAGE}"
    (folder / "zeo.conf").write_text(conf)
    running = daemon("--conf", "zeo.conf")
    assert place(running)[0] == "127.0.0.1"
    assert get(running, "/live")[0] == 200
    running.stop()


def test_an_open_place_is_said(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--http", "tcp:0:interface=0.0.0.0")
    place(running)
    assert "is open: everybody who reaches it sees the figures" in running.output
    quiet = daemon("--file", "other.fs", *ANYWHERE, "--http", "0")
    place(quiet)
    assert "is open" not in quiet.output


def test_not_ready_while_it_stops(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--http", "0", "--drain-timeout", "30")
    place(running)
    client = RawClient(running.address)
    client.ask("register", "1", False)
    client.socket.sendall(client.session.oneway("tpc_begin", 7, "", "", {}))
    client.ask("vote", 7)
    running.process.send_signal(signal.SIGTERM)
    wait_until("it is not ready", lambda: get(running, "/ready")[0] == 503)
    assert get(running, "/ready") == (503, "the server stops\n")
    assert get(running, "/live")[0] == 200
    # The daemon ends as soon as the transaction is over.
    client.socket.sendall(client.session.call(1, "tpc_abort", 7))
    assert running.stop() == 0
    client.close()


def test_it_stops_while_visitors_are_there(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--http", "0")
    with socket.create_connection(place(running)) as sock:
        sock.sendall(b"GET /")
        assert running.stop() == 0


def test_certificates_of_visitors(daemon: Daemon, folder: Path) -> None:
    certificates = Certificates(folder)
    section = "\n".join(certificates.server_section)
    (folder / "zeo.conf").write_text(
        f"<zeo>\n address 127.0.0.1:0\n <http>\n address 127.0.0.1:0\n {section}\n"
        " <access>\n  read certificate:client\n </access>\n </http>\n</zeo>\n" + STORAGE
    )
    running = daemon("--conf", "zeo.conf")
    context = ssl.create_default_context(cafile=certificates.authority.file)
    context.load_cert_chain(*certificates.client)
    assert "zeo_loads_total" in get(running, "/metrics", "https", context=context)[1]
    other = ssl.create_default_context(cafile=certificates.authority.file)
    other.load_cert_chain(*certificates.authority.issue("other"))
    status, body = get(running, "/metrics", "https", context=other)
    assert status == 403 and body == "certificate:other has no role here\n"


def test_accounts_over_an_ssl_endpoint(daemon: Daemon, folder: Path) -> None:
    certificates = Certificates(folder)
    certificate, key = certificates.server
    write_accounts(str(folder / "accounts"), {"anna": verifier("needle", 4096)})
    running = daemon(
        *(*ANYWHERE, "--accounts", "accounts", "--allow", "read user:anna"),
        *("--http", f"ssl:0:certKey={certificate}:privateKey={key}"),
    )
    host, port = place(running)
    context = ssl.create_default_context(cafile=certificates.authority.file)
    assert host == "127.0.0.1"
    assert get(running, "/metrics", "https", context=context)[0] == 401
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    manager.add_password(None, f"https://{host}:{port}/", "anna", "needle")
    opener = urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(manager), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(f"https://{host}:{port}/metrics", timeout=TIMEOUT) as answer:
        assert b"zeo_loads_total" in answer.read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--http", "tcp:x"), "zeo: --http tcp:x:interface=127.0.0.1: 'x' is no number; write a"),
        (("--http", "nonsense:1"), "zeo: --http nonsense:1: "),
        (("--http-names", "a"), "zeo: --http-names: add --http, which says where to listen"),
        (
            ("--http", "0", "--http-names", "a/b"),
            "zeo: --http-names: 'a/b' is not the name of a host; write it without port and path",
        ),
    ],
)
def test_mistakes(folder: Path, options: tuple[str, ...], message: str) -> None:
    for check in ((), ("--check-config",)):
        code, lines = zeo(folder, *options, *check)
        assert code == 1
        assert [line for line in lines if message.removeprefix("zeo: ") in line], lines


def test_a_place_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = zeo(folder, *ANYWHERE, "--http", str(port))
    assert code == 1
    assert lines[-1].endswith(
        f"zeo: cannot listen at tcp:{port}:interface=127.0.0.1: it is in use; stop the process "
        "that has it, or choose another address"
    )


def test_without_the_package_it_says_what_to_install(folder: Path) -> None:
    # A module that cannot be found is one that `find_spec` does not find.
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'prometheus_client' else find(name, *a)\n"
    )
    from .conftest import environment

    path = f"{folder}:{environment()['PYTHONPATH']}"
    code, lines = zeo(folder, *ANYWHERE, "--http", "0", PYTHONPATH=path)
    assert code == 1
    assert lines[-1].endswith(
        "zeo: http: the package prometheus-client is not installed; pip install "
        "'zeotwisted[http]', or leave out http"
    )
    code, lines = zeo(folder, "--http", "0", "--check-config", PYTHONPATH=path)
    assert code == 1 and "prometheus-client is not installed" in lines[-1]
    # Without http, nobody needs it.
    assert zeo(folder, "--check-config", PYTHONPATH=path)[0] == 0


def test_what_applies_is_shown(folder: Path) -> None:
    code, lines = zeo(folder, "--http", "8180", "--show-config")
    assert code == 0 and "http 8180  # option --http" in lines
    conf = "<zeo>\n  address 0\n  <http>\n    address 8180\n  </http>\n</zeo>\n" + STORAGE
    (folder / "zeo.conf").write_text(conf)
    code, lines = zeo(folder, "--conf", "zeo.conf", "--show-config")
    assert code == 0 and "http 127.0.0.1:8180  # zeo.conf" in lines
