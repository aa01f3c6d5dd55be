"""A rolling deployment is measured, and its figures are what they say."""

from __future__ import annotations

import pytest

from benchmarks.measures.rolling import Page, Start, reached
from benchmarks.rolling import as_table, main


def pages(*rates: float) -> list[Page]:
    """Return a page for each hit rate, one each second, with 100 loads."""
    found = [Page(0.0, 0, 0)]
    for rate in rates:
        _, hits, misses = found[-1]
        found.append(
            Page(float(len(found)), hits + int(100 * rate), misses + int(100 - 100 * rate))
        )
    return found


def test_the_time_until_the_cache_is_nearly_as_good_as_later() -> None:
    seconds, rate = reached(pages(*[0.25] * 100, *[0.75] * 200))
    assert rate == 0.75
    assert 100 < seconds <= 125
    assert reached(pages(*[0.5] * 100)) == (25.0, 0.5)


def test_table() -> None:
    without, with_it = Start(4.0, 0.9, 0.5, 0, 10.0), Start(1.0, 0.9, 0.8, 7000, 6.0)
    table = as_table([without], [with_it])
    assert "ratio of the times to 0.9: 0.25" in table
    assert "7000" in table


def test_all_of_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "sys.argv", ["rolling", "--processes", "1", "--rounds", "1", "--scale", "0.02"]
    )
    assert main() == 0
    assert "ratio of the times" in capsys.readouterr().out
