"""``zeotwisted pack``, with real daemons."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ZODB.POSException import StorageError, Unsupported

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.daemon.conftest import ANYWHERE, TIMEOUT, Running, opened, wait_for
from zeotwisted.commands import CommandError
from zeotwisted.commands.pack import _check_idle, _check_space, _pack_time, _run
from zeotwisted.commands.progress import Progress
from zeotwisted.commands.shown import pack_phase

from .conftest import Commands, ended, fill, place

pytestmark = pytest.mark.timeout(90)

Daemon = Callable[..., Running]

DAY = 86400.0


def test_several_servers_and_storages(daemon: Daemon, command: Commands, folder: Path) -> None:
    for name in ("a", "b", "c", "d"):
        fill(folder, 120, f"{name}.fs")
    before = {name: (folder / f"{name}.fs").stat().st_size for name in "abcd"}
    one = daemon(*ANYWHERE, "--storage", "1=a.fs", "--storage", "two=b.fs")
    other = daemon(*ANYWHERE, "--storage", "1=c.fs", "--storage", "two=d.fs")
    places = (place(one.address), place(other.address))
    result = command("pack", *places, "--storage", "1", "--storage", "two")
    assert (result.code, result.errors) == (0, "")
    lines = result.output.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"{each}, storage {name}" for each in places for name in ("1", "two")
    ]
    assert all(" before, " in line for line in lines)
    for name, size in before.items():
        assert (folder / f"{name}.fs").stat().st_size < size / 2
    with opened(one.address) as connection:
        assert connection.root()[7]["n"] == 107


def test_days_keep_the_history(daemon: Daemon, command: Commands, folder: Path) -> None:
    fill(folder, 60)
    size = (folder / "Data.fs").stat().st_size
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    assert command("pack", place(running.address), "--days", "2").code == 0
    assert (folder / "Data.fs").stat().st_size == size


def test_the_others_are_packed_after_a_failure(
    daemon: Daemon, command: Commands, folder: Path
) -> None:
    fill(folder, 60)
    size = (folder / "Data.fs").stat().st_size
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    result = command(
        "pack", place(running.address), "127.0.0.1:1", "--storage", "nope", "--storage", "1"
    )
    assert result.code == 1
    assert "3 of 4 failed" in result.errors
    assert "unknown storage: 'nope'" in result.errors and "Connection refused" in result.errors
    assert (folder / "Data.fs").stat().st_size < size


def test_a_client_that_may_only_pack(daemon: Daemon, command: Commands, folder: Path) -> None:
    fill(folder, 60)
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--allow", "pack everybody")
    assert command("pack", place(running.address)).code == 0
    assert command("pack", place(running.address), "--cancel").code == 0


def test_without_the_role(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--allow", "write everybody")
    for options in ((), ("--no-space-check",), ("--cancel",)):
        line = command.fails("pack", place(running.address), *options)
        assert "it needs the role pack" in line


def test_a_storage_that_is_served_read_only(
    daemon: Daemon, command: Commands, folder: Path
) -> None:
    fill(folder, 3)
    running = daemon(*ANYWHERE, "--file", "Data.fs", "--read-only")
    line = command.fails("pack", place(running.address))
    assert "served read-only" in line


SLOW = """
<zeo>
  address 127.0.0.1:0
  pack-at-stop interrupt
</zeo>
%import tests.commands.slowpack
<slowpack 1>
  path Data.fs
  go-on go-on
</slowpack>
"""


@pytest.fixture
def slow(daemon: Daemon, folder: Path) -> Running:
    """A daemon whose packs go on, after their first record, when there is a file."""
    fill(folder, 60)
    (folder / "zeo.conf").write_text(SLOW)
    return daemon("-C", "zeo.conf")


def packs(running: Running) -> int:
    """Return how many packs run."""
    with zeotwisted.client(running.address, read_only=True, wait_timeout=TIMEOUT) as client:
        return int(client.steer("pack_progress")["running"])


def test_cancel(slow: Running, command: Commands, folder: Path) -> None:
    address = place(slow.address)
    before = (folder / "Data.fs").read_bytes()
    pack = command.start("pack", address)
    wait_for(slow, "begins")
    assert "a pack runs already, since 2" in command.fails("pack", address)
    told = command("pack", address, "--progress").output
    assert told.startswith(f"{address}, storage 1: a pack runs since 2")
    assert "looking for garbage, " in told and told.endswith(" % read\n")
    assert "not allowed with" in command.fails("pack", address, "--progress", "--cancel")
    cancelled = command("pack", address, "--cancel")
    assert cancelled.output.startswith(f"{address}, storage 1: the pack was told to end; ")
    (folder / "go-on").touch()
    result = ended(pack)
    assert result.code == 1
    assert "is interrupted, because it was cancelled; the storage is as before" in result.errors
    assert (folder / "Data.fs").read_bytes() == before
    assert command("pack", address, "--cancel").output.endswith("no pack runs\n")
    assert command("pack", address, "--progress").output.endswith("no pack runs\n")
    assert command("pack", address).code == 0


def test_an_interrupted_command_cancels_its_pack(
    slow: Running, command: Commands, folder: Path
) -> None:
    before = (folder / "Data.fs").read_bytes()
    pack = command.start("pack", place(slow.address))
    wait_for(slow, "begins")
    pack.send_signal(signal.SIGINT)
    wait_for(slow, "cancels the pack")
    (folder / "go-on").touch()
    result = ended(pack)
    assert result.code == 1 and "the pack was cancelled" in result.errors
    assert (folder / "Data.fs").read_bytes() == before


def test_the_server_ends_in_the_middle(slow: Running, command: Commands, folder: Path) -> None:
    before = (folder / "Data.fs").read_bytes()
    pack = command.start("pack", place(slow.address))
    wait_for(slow, "begins")
    slow.stop(signal.SIGKILL)
    result = ended(pack)
    assert result.code == 1
    (line,) = result.errors.splitlines()
    assert line.startswith(f"zeotwisted: {place(slow.address)}: ")
    assert (folder / "Data.fs").read_bytes() == before


NOON = time.mktime((2026, 6, 15, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("days", "time_of_day", "until"),
    [
        (0.0, None, NOON),
        (1.5, None, NOON - 1.5 * DAY),
        (0.0, "11", NOON - 3600),
        (0.0, "11:30", NOON - 1800),
        (2.0, "11:59:30", NOON - 2 * DAY - 30),
        (1.0, "23:00", NOON - 13 * 3600),
    ],
)
def test_pack_times(days: float, time_of_day: str | None, until: float) -> None:
    assert _pack_time(days, time_of_day, NOON) == until


@pytest.mark.parametrize(
    ("days", "time_of_day"),
    [(-1.0, None), (float("nan"), None), (float("inf"), None), (1e9, None)]
    + [(0.0, wrong) for wrong in ("24", "12:60", "noon", "", "1:2:3:4", "12:5", "13:00")],
)
def test_pack_times_that_are_none(days: float, time_of_day: str | None) -> None:
    with pytest.raises(CommandError, match=r"^--(days|time-of-day): "):
        _pack_time(days, time_of_day, NOON)


def test_how_far_a_pack_is() -> None:
    assert pack_phase({"done": 1.0, "searched": 1.0}, 9) == (
        "everything is copied; puts it in place, and removes blobs"
    )
    assert pack_phase({"done": None, "searched": None}, 0) == "looking for garbage"
    assert pack_phase({"done": None, "searched": 0.25}, 0) == "looking for garbage, 25 % read"
    assert pack_phase({"done": 0.25, "searched": 1.0}, 0) == "copying, 25 %"
    assert pack_phase({"done": 0.25, "searched": 1.0, "left": 5.0}) == "copying, 25 %, 5.00 s left"
    assert pack_phase({"done": 0.25, "searched": 1.0}, 20) == "copying, 25 %, 1:00 left"


class Steered:
    """A client whose server answers so."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def steer(self, name: str) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Interrupted:
    """A client of a server that packs. Ctrl-C comes while it waits for an answer."""

    def __init__(self, cancelled: int | None, failure: Exception | None) -> None:
        self.asked: list[str] = []
        self._cancelled = cancelled
        self._failure = failure
        self._ends = threading.Event()

    def steer(self, name: str) -> Any:
        self.asked.append(name)
        if name == "pack_progress":
            signal.raise_signal(signal.SIGINT)
            return None
        # The second time, as the pack may not have begun at the first.
        if self.asked.count("cancel_pack") > 1:
            self._ends.set()
        return self._cancelled

    def pack(self, until: float) -> None:
        assert self._ends.wait(TIMEOUT)
        if self._failure is not None:
            raise self._failure


def test_an_interrupt_cancels_until_the_pack_has_ended() -> None:
    client: Any = Interrupted(1, StorageError("is interrupted"))
    with pytest.raises(CommandError, match="the pack was cancelled"), Progress("", "") as progress:
        _run(client, 0.0, progress)
    assert client.asked == ["pack_progress", "cancel_pack", "cancel_pack"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_too_late() -> None:
    with Progress("", "") as progress:
        _run(Interrupted(0, None), 0.0, progress)  # type: ignore[arg-type]


def test_an_interrupt_and_a_server_of_zeo() -> None:
    client: Any = Interrupted(None, None)
    with pytest.raises(CommandError, match="goes on with the pack"), Progress("", "") as progress:
        _run(client, 0.0, progress)
    client._ends.set()


def test_room() -> None:
    for answer in (None, (5, 5), Unsupported()):
        _check_space(Steered(answer), "x")  # type: ignore[arg-type]
    with pytest.raises(CommandError, match=r"may write 3\.0 KB before .* has 2\.0 KB free"):
        _check_space(Steered((3072, 2048)), "x")  # type: ignore[arg-type]


def test_servers_of_zeo_are_not_asked() -> None:
    _check_idle(Steered(Unsupported()), "x")  # type: ignore[arg-type]


def test_a_server_of_zeo(command: Commands, folder: Path) -> None:
    import ZEO

    fill(folder, 60)
    size = (folder / "Data.fs").stat().st_size
    address, stop = ZEO.server(str(folder / "Data.fs"))
    try:
        result = command("pack", place(address))
        assert result.code == 0, result
        assert command.fails("clients", place(address)).endswith(
            "servers of zeotwisted can do that"
        )
        assert command("verify", place(address)).code == 0
        assert command("status", place(address)).code == 0
        assert command("check", place(address)).code == 0
    finally:
        stop()
    wait_until("it is packed", lambda: (folder / "Data.fs").stat().st_size < size)
