"""Lines go down from `logging` and Twisted's log, and no log is fed by its own failure."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogBeginner, Logger, STDLibLogObserver, globalLogPublisher

from zeotwisted.config.server import parse_server_config
from zeotwisted.logs.logs import EventLog, show_in_twisted_log

CONF = """
<zeo>
  address 127.0.0.1:0
</zeo>
<mappingstorage>
</mappingstorage>
<eventlog>
  level {level}
  <logfile>
    path {path}
    formatter {formatter}
    format %(levelname)s %(name)s %(message)s
  </logfile>
</eventlog>
"""


class Printing(logging.Formatter):
    """Prints while a line is written."""

    def format(self, record: logging.LogRecord) -> str:
        print("I am printed", file=sys.stderr)
        return super().format(record)


@pytest.fixture
def eventlog(tmp_path: Path) -> Iterator[Callable[..., EventLog]]:
    """Make an <eventlog> that writes to a file ``log``."""
    level = logging.getLogger().level
    made: list[EventLog] = []

    def make(level: str = "info", formatter: str = "logging.Formatter") -> EventLog:
        conf = CONF.format(level=level, path=tmp_path / "log", formatter=formatter)
        made.append(EventLog(parse_server_config(conf).eventlog))
        return made[-1]

    yield make
    for log in made:
        log.release()
    assert _our_handlers() == []
    assert logging.getLogger().level == level


def _our_handlers() -> list[logging.Handler]:
    handlers = logging.getLogger().handlers
    return [handler for handler in handlers if type(handler).__module__ == EventLog.__module__]


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[EventLog], list[str]]:
    def read(log: EventLog) -> list[str]:
        log.close()
        return (tmp_path / "log").read_text().splitlines()

    return read


def test_both_logs_once(
    eventlog: Callable[..., EventLog], lines: Callable[[EventLog], list[str]]
) -> None:
    log = eventlog()
    stop = show_in_twisted_log()
    logging.getLogger("ZODB").info("from %s", "logging")
    Logger("here").info("from {name}", name="Twisted")
    Logger("here").debug("too little")
    stop()
    assert lines(log) == ["INFO ZODB from logging", "INFO zeotwisted.server from Twisted"]


def test_level(eventlog: Callable[..., EventLog], lines: Callable[[EventLog], list[str]]) -> None:
    log = eventlog("error")
    stop = show_in_twisted_log()
    for name in ("warning", "error"):
        getattr(logging.getLogger("ZODB"), name)(name)
    Logger("here").warn("warn")
    Logger("here").critical("critical")
    stop()
    assert lines(log) == ["ERROR ZODB error", "CRITICAL zeotwisted.server critical"]


def test_record_factory_of_the_application(
    eventlog: Callable[..., EventLog],
    lines: Callable[[EventLog], list[str]],
) -> None:
    """It makes the records of Twisted's log, too: a formatter may need what it adds to them."""
    factory = logging.getLogRecordFactory()

    def renamed(name: str, *args: Any, **options: Any) -> logging.LogRecord:
        return factory(f"site.{name}", *args, **options)

    log = eventlog()
    logging.setLogRecordFactory(renamed)
    try:
        Logger("here").info("from Twisted")
    finally:
        logging.setLogRecordFactory(factory)
    assert lines(log) == ["INFO site.zeotwisted.server from Twisted"]


def test_line_that_cannot_be_formatted(
    eventlog: Callable[..., EventLog],
    lines: Callable[[EventLog], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not raise an error in the storage that logs it."""
    log = eventlog()
    stop = show_in_twisted_log()
    # The test runner's own raise one.
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", _our_handlers())
        logging.getLogger("ZODB").warning("%d", "x")
    Logger("here").info("{missing}")
    stop()
    first, second = lines(log)
    assert first.startswith("WARNING ZODB '%d' with ('x',): ")
    assert "Unable to format event" in second


def test_application_that_leads_twisted_to_logging(
    eventlog: Callable[..., EventLog], lines: Callable[[EventLog], list[str]]
) -> None:
    log = eventlog()
    stop = show_in_twisted_log()
    twisteds_own = STDLibLogObserver("theirs")
    others: Callable[..., None] = lambda event: logging.getLogger("theirs").info("seen")  # noqa: E731
    for observer in (twisteds_own, others):
        globalLogPublisher.addObserver(observer)
    try:
        Logger("here").info("from Twisted")
        logging.getLogger("ZODB").info("from logging")
    finally:
        for observer in (twisteds_own, others):
            globalLogPublisher.removeObserver(observer)
        stop()
    found = lines(log)
    # Theirs add lines to a line, but only once.
    assert len(found) < 20
    assert found.count("INFO zeotwisted.server from Twisted") == 1
    assert found.count("INFO ZODB from logging") == 1


def test_what_is_printed_while_a_line_is_written(
    eventlog: Callable[..., EventLog],
    lines: Callable[[EventLog], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """twistd makes lines of its log of what is printed."""
    log = eventlog(formatter=f"{__name__}.Printing")

    class Streams:
        stdout, stderr = sys.stdout, sys.stderr

    class Warnings:
        showwarning = None

    beginner = LogBeginner(globalLogPublisher, sys.stderr, Streams, Warnings)
    beginner.beginLoggingTo([], discardBuffer=True)
    monkeypatch.setattr(sys, "stderr", Streams.stderr)
    print("printed by others", file=sys.stderr)
    log.start()
    Logger("here").info("one")
    assert lines(log) == [
        "ERROR zeotwisted.server printed by others",
        "INFO zeotwisted.server one",
    ]
    # Now the caller writes.
    Logger("here").info("two")
    assert lines(log)[2:] == ["INFO zeotwisted.server two"]


def test_is_told_nothing_after_its_release(
    eventlog: Callable[..., EventLog], lines: Callable[[EventLog], list[str]]
) -> None:
    log = eventlog()
    log.start()
    Logger("here").info("one")
    log.release()
    Logger("here").info("two")
    logging.getLogger("ZODB").error("three")
    assert lines(log) == ["INFO zeotwisted.server one"]
