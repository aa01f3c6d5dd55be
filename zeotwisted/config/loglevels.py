"""The levels of the daemon's own log, as a configuration writes them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["parse_levels"]

#: Twisted's names of levels, by the words for them: its own ones, and those of `logging`.
_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "critical": "critical",
}


def parse_levels(text: str) -> Mapping[str, str]:
    """Return the lowest level to write for each part of the log; ``""`` is for all others.

    :param text: a level, and pairs such as ``ZODB=warn``, with commas between them.
    :raises ValueError: it is not that; the text says what to write instead.
    """
    levels = {"": "info"}
    for item in filter(None, (item.strip() for item in text.split(","))):
        part, separator, word = item.rpartition("=")
        level = _LEVELS.get(word.strip().lower())
        if level is None or (separator and not part.strip()):
            raise ValueError(
                f"{item!r} is not a level of the log; write debug, info, warn, error or critical, "
                "and PART=LEVEL for a part, as in info,ZODB=warn"
            )
        levels[part.strip()] = level
    return levels
