"""The log as text or JSON, and its levels."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zeotwisted.config.loglevels import parse_levels
from zeotwisted.logs import LogStyle, json_line
from zeotwisted.storageserver.clientlabel import ClientLabel


def logged(style: LogStyle, *events: tuple[str, Any, str, dict[str, Any]]) -> list[str]:
    """Return the lines for events: namespace, level, format and values."""
    file = StringIO()
    observer = style.observer(file)
    for namespace, level, text, values in events:
        Logger(namespace, observer=observer).emit(level, text, **values)
    return file.getvalue().splitlines()


def test_text_is_the_default() -> None:
    (line,) = logged(
        LogStyle(),
        ("a.b", LogLevel.info, "one {n}", {"n": 1}),
        ("a.b", LogLevel.debug, "two", {}),
    )
    assert line.endswith("[a.b#info] one 1")


def test_levels_of_parts() -> None:
    style = LogStyle(levels=parse_levels("warn, a.b=debug ,ZODB=critical"))
    lines = logged(
        style,
        ("a.b.c", LogLevel.debug, "yes 1", {}),
        ("a.c", LogLevel.info, "no", {}),
        ("a.c", LogLevel.warn, "yes 2", {}),
        ("ZODB.blob", LogLevel.error, "no", {}),
    )
    assert [line.rpartition("] ")[2] for line in lines] == ["yes 1", "yes 2"]


@pytest.mark.parametrize("text", ["loud", "info,ZODB", "=info", "ZODB=loud", "info,=warn"])
def test_levels_that_there_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="write debug, info, warn, error or critical"):
        parse_levels(text)


def test_json() -> None:
    (text,) = logged(
        LogStyle(json=True),
        (
            "zeotwisted.x",
            LogLevel.warn,
            "({label}) ({storage_id!r}) waits {seconds} for {what}",
            {
                "label": ClientLabel("127.0.0.1:5", "user:anna", "zope1"),
                "storage_id": "1",
                "transaction": b"\x04\r" + bytes(6),
                "seconds": 1.5,
                "what": "a\nlock",
                "hidden": "not in the text",
                "object": object(),
            },
        ),
    )
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warn",
        "part": "zeotwisted.x",
        "message": "(zope1 user:anna at 127.0.0.1:5) ('1') waits 1.5 for a\nlock",
        "client": {"label": "zope1", "user": "user:anna", "address": "127.0.0.1:5"},
        "storage": "1",
        "transaction": "040d000000000000",
        "seconds": 1.5,
        "what": "a\nlock",
    }


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("127.0.0.1:5", {"address": "127.0.0.1:5"}),
        (ClientLabel("127.0.0.1:5"), {"address": "127.0.0.1:5"}),
        (ClientLabel("a", "user:b"), {"user": "user:b", "address": "a"}),
        (ClientLabel("a", "user:b").chosen("c"), {"label": "c", "user": "user:b", "address": "a"}),
        (ClientLabel("a").chosen("x" * 5000), {"label": "x" * 2000 + "...", "address": "a"}),
    ],
)
def test_client(label: str, expected: dict[str, str]) -> None:
    (text,) = logged(
        LogStyle(json=True), ("x", LogLevel.info, "{label}", {"label": label, "transaction": None})
    )
    line = json.loads(text)
    assert line["client"] == expected
    assert "transaction" not in line


def test_json_of_a_failure() -> None:
    file = StringIO()
    log = Logger("x", observer=LogStyle(json=True).observer(file))
    try:
        raise OSError("no room")
    except OSError:
        log.failure("it failed", Failure())
    line = json.loads(file.getvalue())
    assert line["message"] == "it failed"
    assert "OSError: no room" in line["traceback"]


def test_long_values_are_cut() -> None:
    (text,) = logged(LogStyle(json=True), ("x", LogLevel.info, "{v}", {"v": "y" * 10**6}))
    assert len(text) < 5000
    assert json.loads(text)["v"].endswith("y...")


def test_an_event_without_a_text() -> None:
    assert json_line({"log_time": 0.0}) is None
