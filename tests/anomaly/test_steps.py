"""The disk counts all steps, and has the right one fail."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .loops import Journal, Operation, fail_all, kill_all
from .steps import BROKEN, FULL, KILLED, TORN, Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(os.path.realpath(tmp_path)) as disk:
        yield disk


def use(folder: Path) -> None:
    """Reach the disk in each way that our code and ZODB have."""
    os.makedirs(folder / "a" / "b")
    handle, name = tempfile.mkstemp(dir=folder)
    os.write(handle, b"x" * 10)
    os.pwrite(handle, b"y", 3)
    os.fsync(handle)
    os.ftruncate(handle, 5)
    os.pread(handle, 5, 0)
    os.close(handle)
    os.replace(name, folder / "c")
    os.link(folder / "c", folder / "d")
    os.chmod(folder / "c", 0o600)
    os.remove(folder / "d")
    with open(folder / "e", "w") as text:
        text.write("line\n" * 10_000)
    with open(folder / "e", "rb") as file:
        file.read()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as nameless:
        nameless.write(b"x")
    shutil.rmtree(folder / "a")


#: Its steps, but for the last call, which differs between versions of Python.
STEPS = [
    "mkdir",
    "mkdir",
    "open",
    "write",
    "pwrite",
    "fsync",
    "ftruncate",
    "pread",
    "replace",
    "link",
    "chmod",
    "remove",
    "open",
    "write",
    "open",
    "read",
    "open",
    "write",
]


def test_all_steps_are_counted(disk: Disk, tmp_path: Path) -> None:
    disk.arm(BROKEN, -1)
    use(tmp_path)
    names = [name for name, _ in disk.trace]
    assert names[: len(STEPS)] == STEPS
    assert names.count("rmdir") == 2
    assert disk.count == len(names)


def test_other_files_are_left_alone(disk: Disk, tmp_path: Path) -> None:
    disk.arm(BROKEN, 1)
    with tempfile.TemporaryDirectory() as other:
        use(Path(other))
    assert disk.count == 0


def test_each_step_can_fail(disk: Disk, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for at in range(1, 1000):
        folder.mkdir()
        disk.arm(BROKEN, at)
        try:
            use(folder)
        except OSError as error:
            assert error.errno == errno.EIO
            assert disk.reached
        finally:
            disk.mend()
            shutil.rmtree(folder)
        if not disk.reached:
            break
    assert at > len(STEPS) + 2


def test_a_full_disk_takes_a_part(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "file"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    disk.arm(FULL, 1)
    assert os.write(handle, b"x" * 10) == 5
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            os.write(handle, b"x" * 5)
    # What makes room is possible.
    os.ftruncate(handle, 2)
    os.close(handle)
    os.remove(path)
    disk.mend()
    path.write_bytes(b"y" * 10)


def test_a_torn_write(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as file:
        disk.arm(TORN, 1)
        file.write(b"x" * 10)
        with pytest.raises(OSError, match="Input/output"):
            file.flush()
        assert path.read_bytes() == b"x" * 5
    assert path.read_bytes() == b"x" * 10


def test_what_is_not_synced_is_known(disk: Disk, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    with open(old, "wb") as file:
        file.write(b"x")
    os.rename(old, new)
    assert disk.unsynced == {new}
    with open(new, "ab") as file:
        os.fsync(file.fileno())
    assert disk.unsynced == set()


class _Writes(Operation):
    """Makes two files that belong together."""

    name = "test"

    def run(self, journal: Journal) -> None:
        for name in ("one", "two"):
            try:
                self.write(name)
            except OSError as error:
                journal.refused(error)
                break
            journal.note("written", name)

    def write(self, name: str) -> None:
        with open(self.path(name + "-"), "wb") as file:
            file.write(b"content")
        os.rename(self.path(name + "-"), self.path(name))

    def mended(self, journal: Journal) -> None:
        self.restarted(journal)

    def restarted(self, journal: Journal) -> None:
        for name in journal.of("written"):
            assert Path(self.path(name)).read_bytes() == b"content"
        for name in ("one", "two"):
            if os.path.exists(self.path(name)):
                assert Path(self.path(name)).read_bytes() == b"content", "torn"


class _SwallowsErrors(_Writes):
    def write(self, name: str) -> None:
        with contextlib.suppress(OSError):
            super().write(name)


class _WritesInPlace(_Writes):
    def write(self, name: str) -> None:
        with open(self.path(name), "wb") as file:
            file.write(b"content")


class _SaysNothing(_Writes):
    def write(self, name: str) -> None:
        try:
            super().write(name)
        except OSError:
            raise OSError("it does not work") from None


class _LeavesDescriptors(_Writes):
    def write(self, name: str) -> None:
        handle = os.open(self.path("lock"), os.O_CREAT | os.O_RDWR)
        super().write(name)
        os.close(handle)


class _LeavesFiles(_Writes):
    def left_over(self, killed: bool) -> set[str]:
        return {name for name in os.listdir(self.folder) if name.endswith("-")}


def test_a_right_operation_passes() -> None:
    assert fail_all(_Writes, [BROKEN, TORN, FULL]).steps == 6
    assert kill_all(_Writes, [KILLED]).attempts == 6


@pytest.mark.parametrize(
    ("loop", "kind", "complaint"),
    [
        (fail_all, _SwallowsErrors, "No such file"),
        (fail_all, _WritesInPlace, "torn"),
        (kill_all, _WritesInPlace, "torn"),
        (fail_all, _SaysNothing, "does not say what has happened"),
        (fail_all, _LeavesDescriptors, "a descriptor is left open"),
        (fail_all, _LeavesFiles, "left over"),
        (kill_all, _LeavesFiles, "left over"),
    ],
)
def test_a_wrong_operation_is_found(
    loop: Callable[..., object], kind: type[Operation], complaint: str
) -> None:
    with pytest.raises((AssertionError, OSError), match=complaint):
        loop(kind, [BROKEN if loop is fail_all else KILLED])
