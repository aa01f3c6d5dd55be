"""The two loops: the n-th step of an operation fails, or is the last one before a kill."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from .steps import BROKEN, ENDED, Disk, Fault

__all__ = ["Journal", "Operation", "Tried", "fail_all", "files", "kill_all"]

#: No operation has as many steps.
_MOST = 3000

_IN_MEMORY = "/dev/shm"


class Journal:
    """What an operation has answered. It outlives the process of the operation.

    :param number: a pipe that gets each entry, or None.
    :ivar entries: the answers. The first value of each is its kind.
    """

    def __init__(self, number: int | None = None) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self._number = number

    def note(self, *entry: Any) -> None:
        """Note an answer."""
        self.entries.append(entry)
        if self._number is not None:
            os.write(self._number, pickle.dumps(entry))

    def refused(self, error: BaseException) -> None:
        """Note that the operation, or a part of it, has failed with this exception."""
        self.note("refused", f"{type(error).__name__}: {error}")

    def of(self, kind: str) -> list[Any]:
        """Return the second values of the entries of one kind."""
        return [entry[1] for entry in self.entries if entry[0] == kind]


class Operation:
    """An operation in a folder. Each attempt has its own object, and a fresh copy of the folder.

    :ivar name: the name in the table.
    :ivar disk: the disk, for what it knows of the steps.
    :ivar fault: what happens in this attempt; None for none.
    """

    name = ""

    def __init__(self, folder: str, disk: Disk, fault: Fault | None = None) -> None:
        self.folder = folder
        self.disk = disk
        self.fault = fault

    def path(self, *names: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.folder, *names)

    def prepare(self) -> None:
        """Make the files that are there before the operation; called once for all attempts."""

    def start(self) -> None:
        """Get ready; the disk works still."""

    def run(self, journal: Journal) -> None:
        """Do the operation, and note what was answered. Any other exception is a fault of ours."""

    def mended(self, journal: Journal) -> None:
        """Check after a fault, in the same process: the disk works again. Then close all files."""

    def restarted(self, journal: Journal) -> None:
        """Check what a new process finds: after a fault, and after a kill."""

    def left_over(self, killed: bool) -> set[str]:
        """Return the names of files, relative to the folder, that should not be there.

        :param killed: whether the process was killed, and another one has started since.
        """
        return set()


class Tried(NamedTuple):
    """What a loop has tried."""

    operation: str
    #: How many steps the operation has if nothing fails, with those that read.
    steps: int
    #: How many faults, or kills, there were.
    attempts: int


def files(folder: str) -> set[str]:
    """Return the names of all files in a folder, relative to it."""
    return {
        os.path.relpath(os.path.join(path, name), folder)
        for path, _, names in os.walk(folder)
        for name in names
    }


def fail_all(kind: type[Operation], faults: Iterable[Fault]) -> Tried:
    """Have each fault happen at each step of an operation."""
    return _loop(kind, faults, _fail)


def kill_all(kind: type[Operation], faults: Iterable[Fault]) -> Tried:
    """Kill the process of an operation at each step."""
    return _loop(kind, faults, _kill)


def _loop(kind: type[Operation], faults: Iterable[Fault], attempt: Any) -> Tried:
    attempts = 0
    root = os.path.realpath(tempfile.mkdtemp(prefix="anomaly-", dir=_place()))
    try:
        with Disk(root) as disk:
            before = os.path.join(root, "before")
            os.mkdir(before)
            kind(before, disk).prepare()
            for fault in faults:
                for at in itertools.count(1):
                    assert at < _MOST, f"{kind.name} does not end"
                    folder = os.path.join(root, "folder")
                    shutil.copytree(before, folder, symlinks=True)
                    try:
                        reached = attempt(kind, folder, disk, fault, at)
                    except BaseException as error:
                        _explain(error, kind, disk, fault, at)
                        raise
                    shutil.rmtree(folder)
                    if not reached:
                        break
                    attempts += 1
            steps = _steps(kind, before, os.path.join(root, "folder"), disk)
    finally:
        shutil.rmtree(root)
    return Tried(kind.name, steps, attempts)


def _place() -> str | None:
    """Return a folder in memory, which is faster, or None if there is none."""
    return _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None


def _explain(error: BaseException, kind: Any, disk: Disk, fault: Fault, at: int) -> None:
    where = " ".join(disk.trace[-1]) if disk.trace else "in a child process"
    print(f"{kind.name}: {fault.name}, at step {at} of its kinds; last: {where}", file=sys.stderr)


def _steps(kind: type[Operation], before: str, folder: str, disk: Disk) -> int:
    shutil.copytree(before, folder, symlinks=True)
    operation = kind(folder, disk)
    operation.start()
    disk.arm(BROKEN, -1)
    journal = Journal()
    operation.run(journal)
    disk.mend()
    operation.mended(journal)
    return disk.count


def _fail(kind: type[Operation], folder: str, disk: Disk, fault: Fault, at: int) -> bool:
    # What was opened to check the last attempt may wait for the collector of garbage.
    opened = _opened(folder)
    disk.not_removed.clear()
    disk.unsynced.clear()
    journal = Journal()
    operation = kind(folder, disk, fault)
    operation.start()
    disk.arm(fault, at)
    try:
        operation.run(journal)
    finally:
        disk.mend()
    operation.mended(journal)
    _check_left_over(operation, killed=False)
    _check_refusals(journal, fault if disk.reached else None)
    del operation
    left = _opened(folder) - opened
    assert not left, f"a descriptor is left open: {sorted(left)}"
    kind(folder, disk, fault).restarted(journal)
    return disk.reached


def _check_refusals(journal: Journal, fault: Fault | None) -> None:
    """Check that the reason is said, and that nothing is refused without a fault."""
    for text in journal.of("refused"):
        assert fault is not None and fault.error, f"refused without an error: {text}"
        assert os.strerror(fault.error) in text, f"this does not say what has happened: {text}"


def _check_left_over(operation: Operation, killed: bool) -> None:
    not_removed = {os.path.relpath(path, operation.folder) for path in operation.disk.not_removed}
    left_over = operation.left_over(killed) - not_removed
    assert not left_over, f"left over: {sorted(left_over)}"


def _opened(folder: str) -> set[tuple[str, str]]:
    """Return the open files of the folder. Others come and go with what tests have left behind."""
    opened = set()
    for number in os.listdir("/proc/self/fd"):
        # One is of the listing, and others are closed in other threads.
        with suppress(FileNotFoundError):
            opened.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return {each for each in opened if each[1].startswith(os.path.join(folder, ""))}


def _kill(kind: type[Operation], folder: str, disk: Disk, fault: Fault, at: int) -> bool:
    disk.not_removed.clear()
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        _be_killed(kind, folder, disk, fault, at, Journal(write))
    os.close(write)
    journal = Journal()
    with open(read, "rb") as pipe:
        while pipe.peek(1):
            journal.entries.append(pickle.load(pipe))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, ENDED), "the child has failed, see its traceback"
    _check_refusals(journal, None)
    operation = kind(folder, disk, fault)
    operation.restarted(journal)
    _check_left_over(operation, killed=True)
    return code == ENDED


def _be_killed(
    kind: type[Operation], folder: str, disk: Disk, fault: Fault, at: int, journal: Journal
) -> None:
    try:
        operation = kind(folder, disk)
        operation.start()
        disk.arm(fault, at)
        operation.run(journal)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
