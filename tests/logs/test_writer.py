"""Lines of a log leave in order, nobody waits for them, and what is lost is counted."""

from __future__ import annotations

from threading import Event

import pytest

from zeotwisted.logs.writer import MOST_TEXT, LogWriter, is_writing

TIMEOUT = 20


class Disk:
    """Where lines go: it can be full, and it can stand still."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.full = False
        self.goes_on = Event()
        self.goes_on.set()
        self.asked = Event()
        self.told = Event()

    def write(self, line: str) -> None:
        self.asked.set()
        assert self.goes_on.wait(TIMEOUT)
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines.append(line)
        if "lost" in line:
            self.told.set()


def report(count: int, reason: Exception | None) -> str:
    return f"{count} lost: {reason}"


@pytest.fixture
def disk() -> Disk:
    return Disk()


def written(writer: LogWriter) -> None:
    """Wait until the writer has dealt with all that it was given so far."""
    reached = Event()
    writer.call(reached.set)
    assert reached.wait(TIMEOUT)


def test_in_order_from_before_the_start_until_after_the_end(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.put("before")
    assert disk.lines == []
    writer.start()
    writer.put("while")
    writer.close()
    assert disk.lines == ["before", "while"]
    writer.put("after")
    assert disk.lines == ["before", "while", "after"]


def test_what_was_lost_is_told_once_when_there_is_room(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.start()
    disk.full = True
    for number in range(5):
        writer.put(f"lost {number}")
    written(writer)
    disk.full = False
    writer.put("there")
    writer.put("there, too")
    writer.close()
    assert disk.lines == ["5 lost: [Errno 28] No space left on device", "there", "there, too"]


def test_nobody_waits_for_a_disk_that_stands_still(disk: Disk) -> None:
    writer = LogWriter(disk.write, report, most=3)
    writer.start()
    disk.goes_on.clear()
    writer.put("0")
    assert disk.asked.wait(TIMEOUT)
    for number in range(1, 10):
        writer.put(str(number))
    disk.goes_on.set()
    written(writer)
    writer.put("10")
    writer.close()
    # The count is known when the next line is written.
    assert disk.lines[0] == "0"
    assert [line for line in disk.lines if "lost" not in line] == ["0", "1", "2", "3", "10"]
    assert [line for line in disk.lines if "lost" in line] == ["6 lost: None"]


def test_the_end_does_not_wait_for_ever(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.start()
    disk.goes_on.clear()
    writer.put("stuck")
    assert disk.asked.wait(TIMEOUT)
    writer.close(0.01)
    writer.put("lost")
    disk.goes_on.set()
    assert "lost" not in disk.lines


def test_without_a_thread_the_end_writes_all(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.put("a mistake in the configuration")
    writer.close()
    assert disk.lines == ["a mistake in the configuration"]


def test_what_was_lost_is_told_without_another_line(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.start()
    disk.full = True
    writer.put("lost")
    written(writer)
    disk.full = False
    assert disk.told.wait(TIMEOUT)
    writer.close()
    assert disk.lines == ["1 lost: [Errno 28] No space left on device"]


def test_long_lines_do_not_take_all_memory(disk: Disk) -> None:
    writer = LogWriter(disk.write, report)
    writer.put("long", MOST_TEXT)
    writer.put("lost", 1)
    writer.close()
    assert disk.lines == ["1 lost: None", "long"]


def test_writing_is_known(disk: Disk) -> None:
    seen: list[bool] = []
    writer = LogWriter(lambda _: seen.append(is_writing()), report)
    writer.put("in the thread")
    writer.close()
    writer.put("in this one")
    assert seen == [True, True]
    assert not is_writing()
