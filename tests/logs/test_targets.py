"""What logs are written to, when it cannot be written, and when it can be again."""

from __future__ import annotations

import errno
import logging
import logging.handlers
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zeotwisted.logs.targets import (
    FileTarget,
    HandlerTarget,
    LogFileTarget,
    StreamTarget,
    file_target,
)

TIMEOUT = 20


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    target = FileTarget(str(path))
    target.write("a\n")
    target.write("\udc80\n")
    target.close()
    assert path.read_text() == "before\na\n\\udc80\n"


@pytest.mark.parametrize("kind", [FileTarget, LogFileTarget])
def test_folder_that_vanishes_and_comes_back(
    tmp_path: Path, kind: type[FileTarget] | type[LogFileTarget]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "log"
    target = kind(str(path))
    path.unlink()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        target.reopen()
    with pytest.raises(FileNotFoundError):
        target.write("lost\n")
    folder.mkdir()
    target.write("there\n")
    target.close()
    assert path.read_text() == "there\n"


def test_file_that_was_moved_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    target = FileTarget(str(path))
    target.write("old\n")
    path.rename(tmp_path / "moved")
    target.reopen()
    target.write("new\n")
    target.close()
    assert (tmp_path / "moved").read_text() == "old\n"
    assert path.read_text() == "new\n"


def test_named_pipe_without_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    target = file_target(str(path))
    with pytest.raises(OSError) as lost:
        target.write("lost\n")
    assert lost.value.errno == errno.ENXIO
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    target.write("read\n")
    assert os.read(reader, 100) == b"read\n"
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        target.write("lost\n")
    target.close()


def test_pipe_that_is_full_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    text = "x" * 200_000 + "\n"
    thread = threading.Thread(target=StreamTarget(writer).write, args=[text])
    thread.start()
    read = b""
    while len(read) < len(text):
        read += os.read(reader, 65536)
    thread.join(TIMEOUT)
    assert read == text.encode()


def test_end_does_not_wait_for_a_reader(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    target = StreamTarget(writer)
    target.abandon()
    with pytest.raises(TimeoutError, match="no process reads it"):
        target.write("x" * 200_000 + "\n")
    # The line that was torn is ended before the next one.
    os.set_blocking(reader, False)
    assert set(os.read(reader, 200_000)) == {ord("x")}
    target.write("next\n")
    assert os.read(reader, 100) == b"\nnext\n"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("name", logging.INFO, "", 0, text, None, None)


def test_handler_that_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = HandlerTarget(logging.handlers.SysLogHandler(str(tmp_path / "missing")))
    with pytest.raises(OSError):
        target.write(record("lost"))
    target.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_handler_keeps_nothing_that_was_counted_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    target = HandlerTarget(
        logging.handlers.RotatingFileHandler(path, maxBytes=10**9, backupCount=1)
    )
    for _ in range(3):
        with pytest.raises(OSError):
            target.write(record("lost"))
    path.unlink()
    target.write(record("there"))
    target.close()
    assert path.read_text() == "there\n"
