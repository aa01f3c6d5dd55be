"""What a server's status says of its standbys, or of being one; see ``server_status``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .shown import duration, printable

__all__ = ["copy_lines", "copy_troubles", "lag"]

#: A standby that refuses names many transactions. A monitor shows the beginning.
_LONGEST = 200


def lag(state: dict[str, Any]) -> float | None:
    """Return for how long (seconds) a standby has lacked something; None if it is no standby.

    :param state: the storage's part of a status.
    """
    standby = state.get("standby")
    return float(standby["lag"]) if standby else None


def copy_lines(state: dict[str, Any]) -> Iterator[str]:
    """Yield a line about the primary, and one about the standbys for which commits wait."""
    standby, followers = state.get("standby"), state.get("followers")
    if standby:
        behind = f", {duration(standby['lag'])} behind" if standby["lag"] else ""
        problem = f": {standby['problem']}" if standby["problem"] else ""
        text = f"standby of {standby['primary']}: {standby['state']}{behind}{problem}"
        yield printable(text)
    if followers:
        waits = "wait" if followers["synchronous"] else "do not wait now"
        yield f"standbys: {followers['connected']} connected; commits {waits} for one"


def copy_troubles(state: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield what a monitor has to tell without thresholds: 1 (warning) or 2 (critical), and why."""
    standby, followers = state.get("standby"), state.get("followers")
    if standby and standby["problem"]:
        problem = standby["problem"]
        cut = problem if len(problem) <= _LONGEST else problem[:_LONGEST] + "…"
        yield 2, printable(f"the standby cannot follow {standby['primary']}: {cut}")
    elif standby and standby["lag"] > standby["most_lag"]:
        yield 1, printable(f"the standby is {standby['lag']:.0f} s behind {standby['primary']}")
    if followers and followers["wanted"] and not followers["synchronous"]:
        yield 1, f"commits do not wait for a standby; {followers['connected']} are connected"
