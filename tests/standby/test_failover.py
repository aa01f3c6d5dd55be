"""A primary is killed under load, and a standby takes its place. The count must be exact."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import transaction
import ZODB
from transaction.interfaces import TransientError
from ZODB.POSException import ReadOnlyError

import zeotwisted
from tests.daemon.conftest import SCRIPTS, Running, wait_for

from .conftest import TIMEOUT, Node, command, contents, status

pytestmark = pytest.mark.timeout(180)

SYNCHRONOUS = "synchronous-standby 10"


class Counter:
    """Adds one again and again, in a database of its own, and knows how often it was done."""

    def __init__(self, name: int, *nodes: Node) -> None:
        addresses = [node.address for node in nodes]
        self.db = ZODB.DB(zeotwisted.client(addresses, read_only_fallback=True, wait_timeout=60))
        self.name = name
        self.done = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT * 3)
        assert not self._thread.is_alive()
        self.db.close()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._add()
        except BaseException as error:
            self.error = error

    def _add(self) -> None:
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        try:
            root = connection.root()
            root[self.name] = root.get(self.name, 0) + 1
            root["total"] = root.get("total", 0) + 1
            manager.commit()
            self.done += 1
        except (TransientError, ReadOnlyError):
            # It was not committed: another one was faster, or the primary is gone.
            manager.abort()
        finally:
            connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def synchronous(primary: Node) -> None:
    primary.wait(lambda status: status["followers"]["synchronous"])


def test_nothing_that_was_answered_is_lost(node: Callable[..., Node]) -> None:
    primary = node("primary", settings=SYNCHRONOUS)
    standby = node("standby", primary.place)
    with ZODB.DB(zeotwisted.client(primary.address)).transaction() as connection:
        connection.root()["total"] = 0
    synchronous(primary)
    counters = [Counter(number, primary, standby) for number in range(4)]
    for counter in counters:
        counter.start()
    wait_until(lambda: sum(counter.done for counter in counters) > 100)
    primary.kill()
    before = sum(counter.done for counter in counters)
    code, output = command("promote", standby.place)
    assert code == 0, output
    wait_until(lambda: sum(counter.done for counter in counters) > before + 100)
    for counter in counters:
        counter.stop()
    db = ZODB.DB(zeotwisted.client(standby.address))
    with db.transaction() as connection:
        root = connection.root()
        for counter in counters:
            assert root.get(counter.name, 0) == counter.done
        assert root["total"] == sum(counter.done for counter in counters)
    db.close()
    standby.stop()
    # The old primary may have one transaction that nobody was told of. It is named.
    old, new = contents(primary.path), contents(standby.path)
    only_old = [each[0].hex() for each in old if each not in new]
    assert len(only_old) <= 1
    assert [each for each in old if each in new] == new[: len(old) - len(only_old)]
    primary.settings, primary.primaries = "", [standby.place]
    standby.start()
    primary.start()
    if only_old:
        problem = primary.wait(lambda status: status["standby"]["problem"])["standby"]["problem"]
        assert only_old[0] in problem
    else:
        primary.wait(lambda status: status["standby"]["state"] == "has everything")


def test_commits_go_on_without_the_standby(node: Callable[..., Node]) -> None:
    primary = node("primary", settings=SYNCHRONOUS)
    standby = node("standby", primary.place)
    synchronous(primary)
    db = ZODB.DB(zeotwisted.client(primary.address))
    standby.kill()
    with db.transaction() as connection:
        connection.root()["alone"] = 1
    followers = primary.status()["followers"]
    assert followers == {"connected": 0, "wanted": True, "synchronous": False}
    code, output = command("check", primary.place)
    assert code == 1
    assert "ZEO WARNING - storage 1: commits do not wait for a standby; 0 are conn" in output
    assert (
        "  standbys: 0 connected; commits do not wait now for one"
        in (command("status", primary.place)[1])
    )
    standby.start()
    synchronous(primary)
    with db.transaction() as connection:
        connection.root()["together"] = 1
    # It has it when the commit is answered.
    assert standby.status()["last-transaction"] == primary.status()["last-transaction"]
    assert command("check", primary.place)[0] == 0
    assert "  standbys: 1 connected; commits wait for one" in command("status", primary.place)[1]
    db.close()
    assert "do not wait for a standby any more, because the standby is gone" in primary.stop()


def test_a_standby_that_hangs_holds_commits_up_once(node: Callable[..., Node]) -> None:
    primary = node("primary", settings="synchronous-standby 0.5")
    standby = node("standby", primary.place)
    synchronous(primary)
    db = ZODB.DB(zeotwisted.client(primary.address))
    assert standby.running is not None
    standby.running.process.send_signal(signal.SIGSTOP)
    times = []
    for number in range(3):
        begun = time.monotonic()
        with db.transaction() as connection:
            connection.root()["number"] = number
        times.append(time.monotonic() - begun)
    assert times[0] >= 0.5 > max(times[1:])
    standby.running.process.send_signal(signal.SIGCONT)
    synchronous(primary)
    db.close()
    assert "has not written transaction" in primary.stop()


def test_who_may_follow_and_promote(node: Callable[..., Node]) -> None:
    roles = "<access>\nwrite everybody\n</access>\n"
    primary = node("primary", settings=f"{SYNCHRONOUS}\n{roles}")
    standby = node("standby", primary.place, settings=roles)
    standby.wait(lambda status: status["standby"]["state"] == "has everything")
    assert primary.status()["followers"]["connected"] == 0
    code, output = command("promote", standby.place)
    assert code == 1 and "administer" in output, output
    assert standby.running is not None
    wait_for(standby.running, "do not wait for standby")
    log = standby.stop()
    assert log.count("do not wait for standby '1': ") == 1 and "the role follow" in log, log


def test_tls_and_an_account(node: Callable[..., Node], tmp_path: Path) -> None:
    """The standby proves who it is, and commits wait for it."""
    password = tmp_path / "password"
    password.write_text("a long password")
    made = [
        command("certs", "127.0.0.1", "--client", "standby", cwd=tmp_path),
        command("user", "add", "standby", "--password-file", str(password), cwd=tmp_path),
    ]
    assert [code for code, _ in made] == [0, 0], made
    ssl = f"certificate {tmp_path}/server.pem\nkey {tmp_path}/server.key\n"
    primary = node(
        "primary",
        settings=f"{SYNCHRONOUS}\naccounts {tmp_path}/accounts\n"
        "<access>\nwrite unix-group:nobody\nfollow user:standby\n</access>\n"
        f"<ssl>\n{ssl}authenticate {tmp_path}/authority.pem\n</ssl>\n"
        "<listen>\naddress ./socket\n<access>\nadminister everybody\n</access>\n</listen>\n",
    )
    socket = str(primary.folder / "socket")
    ssl = f"certificate {tmp_path}/standby.pem\nkey {tmp_path}/standby.key\n"
    standby = node(
        "standby",
        primary.place,
        keys=f"username standby\npassword-file {password}\n"
        f"<ssl>\n{ssl}authenticate {tmp_path}/authority.pem\n</ssl>\n",
    )
    standby.wait(lambda status: status["standby"]["state"] == "has everything")
    wait_until(lambda: bool(status(socket)["followers"]["synchronous"]))
    db = ZODB.DB(zeotwisted.client(socket))
    with db.transaction() as connection:
        connection.root()["secret"] = 1
    assert standby.status()["last-transaction"] == status(socket)["last-transaction"]
    db.close()


class Secured:
    """A primary with TLS and accounts, and what a standby needs there."""

    def __init__(self, make: Callable[..., Node], folder: Path) -> None:
        self.folder = folder
        self.password = folder / "password"
        self.password.write_text("a long password")
        (folder / "wrong").write_text("another password")
        (folder / "other").mkdir()
        made = [
            command("certs", "127.0.0.1", "--client", "standby", cwd=folder),
            command("certs", "127.0.0.1", "--client", "standby", cwd=folder / "other"),
            command("user", "add", "standby", "--password-file", str(self.password), cwd=folder),
        ]
        assert not any(code for code, _ in made), made
        self.node = make(
            "primary",
            settings=f"accounts {folder}/accounts\n"
            "<access>\nread user:standby\n</access>\n"
            f"<ssl>\ncertificate {folder}/server.pem\nkey {folder}/server.key\n"
            f"authenticate {folder}/authority.pem\n</ssl>\n"
            "<listen>\naddress ./socket\n<access>\nadminister everybody\n</access>\n</listen>\n",
        )
        with contextlib.closing(ZODB.DB(zeotwisted.client(str(self.node.folder / "socket")))) as db:
            self.last = db.storage.lastTransaction().hex()

    def run(
        self, authority: str = ".", certificate: str = ".", password: str = "password"
    ) -> Running:
        """Run ``zeotwisted standby``."""
        place = self.folder / "standby"
        place.mkdir(exist_ok=True)
        run = [
            str(SCRIPTS / "zeotwisted"),
            "standby",
            self.node.place,
            "--listen",
            f"{place}/socket",
        ]
        run += ["--ca", f"../{authority}/authority.pem"]
        run += ["--certificate", f"../{certificate}/standby.pem"]
        run += ["--key", f"../{certificate}/standby.key"]
        run += ["--user", "standby", "--password-file", f"../{password}"]
        return Running(run, place, 1)


def test_the_command_with_tls_and_an_account(node: Callable[..., Node], tmp_path: Path) -> None:
    secured = Secured(node, tmp_path)
    running = secured.run()
    wait_until(lambda: status(f"{tmp_path}/standby/socket")["last-transaction"] == secured.last)
    assert running.stop() == 0
    assert "no connection" not in running.output and "cannot follow" not in running.output


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"authority": "other"}, "the certificate of the server is not accepted"),
        ({"certificate": "other"}, "does not know who signed the certificate of the client"),
        ({"password": "wrong"}, "wrong user name or password"),
        ({"password": "none"}, "none: No such file or directory; check password_file"),
    ],
)
def test_what_is_not_accepted_is_one_line(
    node: Callable[..., Node], tmp_path: Path, wrong: dict[str, str], why: str
) -> None:
    secured = Secured(node, tmp_path)
    running = secured.run(**wrong)
    wait_for(running, why)
    # It has tried again then.
    place = f"{tmp_path}/standby/socket"
    wait_until(lambda: status(place)["standby"]["lag"] > 7)
    assert running.stop() == 0
    told = [line for line in running.output.splitlines() if "#warn" in line or "#error" in line]
    assert len(told) == 1 and why in told[0] and secured.node.place in told[0], told
    assert "Traceback" not in running.output


def test_a_mended_account_is_used(node: Callable[..., Node], tmp_path: Path) -> None:
    secured = Secured(node, tmp_path)
    running = secured.run(password="wrong")
    wait_for(running, "wrong user name or password")
    (tmp_path / "wrong").write_text("a long password")
    wait_until(lambda: status(f"{tmp_path}/standby/socket")["last-transaction"] == secured.last)
    assert running.stop() == 0


def test_the_primary_is_zeos(node: Callable[..., Node], tmp_path: Path) -> None:
    """Its transactions and blobs come by version 5, which knows no acknowledgements."""
    pytest.importorskip("ZEO")
    from tests.clientstorage.support import Server
    from tests.standby.test_standby import fill

    folder = tmp_path / "zeo"
    folder.mkdir()
    keys = f"path {folder}/Data.fs\nblob-dir {folder}/blobs"
    server = Server(folder, "ZEO", storage=f"<filestorage>\n{keys}\n</filestorage>\n")
    db = ZODB.DB(zeotwisted.client(server.address, blob_dir=str(tmp_path / "cache")))
    fill(db, 6)
    standby = node("standby", "{}:{}".format(*server.address))
    fill(db, 6)
    last = db.storage.lastTransaction().hex()
    standby.wait(lambda status: status["last-transaction"] == last)
    server.stop()
    server.start()
    fill(db, 2)
    last = db.storage.lastTransaction().hex()
    standby.wait(lambda status: status["last-transaction"] == last)
    db.close()
    server.stop()
    code, output = command("promote", standby.place)
    assert code == 0, output
    standby.stop()
    # The extension was unpickled on its way, and pickled again.
    ours, theirs = (
        [(*each[:4], each[5]) for each in contents(path)]
        for path in (standby.path, folder / "Data.fs")
    )
    assert ours == theirs
