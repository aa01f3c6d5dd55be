"""What commands say of standbys."""

from __future__ import annotations

from typing import Any

from zeotwisted.commands.copies import copy_lines, copy_troubles, lag


def _standby(**changes: Any) -> dict[str, Any]:
    state = {
        "primary": "zeo1:8100", "state": "has everything", "problem": "", "lag": 0.0,
        "most_lag": 60.0, "last": "00",
    }  # fmt: skip
    return {"standby": state | changes}


def test_a_storage_without_copies_says_nothing() -> None:
    assert list(copy_lines({})) == [] and list(copy_troubles({})) == [] and lag({}) is None


def test_a_standby_that_is_well() -> None:
    state = _standby()
    assert list(copy_lines(state)) == ["standby of zeo1:8100: has everything"]
    assert list(copy_troubles(state)) == [] and lag(state) == 0.0
    assert list(copy_troubles(_standby(lag=60.0))) == []


def test_a_standby_that_is_behind() -> None:
    state = _standby(state="waits for the primary", lag=61.0)
    assert list(copy_lines(state)) == ["standby of zeo1:8100: waits for the primary, 1:01 behind"]
    assert list(copy_troubles(state)) == [(1, "the standby is 61 s behind zeo1:8100")]
    assert lag(state) == 61.0


def test_a_long_problem_is_cut_for_a_monitor_and_harmless_on_a_terminal() -> None:
    state = _standby(state="refuses to follow", problem="\x1b[2J" + "x" * 5000, lag=61.0)
    ((level, text),) = copy_troubles(state)
    assert level == 2 and len(text) < 300 and "\x1b" not in text
    (line,) = copy_lines(state)
    assert "refuses to follow, 1:01 behind: " in line and "\x1b" not in line
