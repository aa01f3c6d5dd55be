"""The form of the log that `twistd` and `twist` write: text or JSON, and which lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)

from .jsonlines import json_line

__all__ = ["LogStyle"]


@dataclass(frozen=True)
class LogStyle:
    """The form of a log.

    :ivar json: write a JSON object on each line, instead of text.
    :ivar levels: the lowest level to write for each part of the log; ``""`` is for all others.
    """

    json: bool = False
    levels: Mapping[str, str] = field(default_factory=lambda: {"": "info"})

    def observer(self, file: IO[str], text: Callable[[IO[str]], Any] = textFileLogObserver) -> Any:
        """Return an observer that writes to `file`.

        :param text: makes the observer for a log of texts.
        """
        written: ILogObserver = FileLogObserver(file, json_line) if self.json else text(file)
        predicate = LogLevelFilterPredicate(LogLevel.levelWithName(self.levels[""]))
        for part, level in self.levels.items():
            if part:
                predicate.setLogLevelForNamespace(part, LogLevel.levelWithName(level))
        return FilteringLogObserver(written, [predicate])
