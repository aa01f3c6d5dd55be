"""Checks the log files of an <eventlog> section, so that an error message can have the line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeotwisted.files import unwritable

__all__ = ["unwritable_logs"]

#: Paths that mean a stream of the process in ZConfig.
_STREAMS = ("STDERR", "STDOUT")


def unwritable_logs(eventlog: Any) -> Iterator[tuple[Any, str, str]]:
    """Yield (section, mistake, remedy) for each log file that cannot be written.

    :param eventlog: ZConfig's value of the section, or None.
    """
    for factory in getattr(eventlog, "handler_factories", ()):
        section = getattr(factory, "section", None)
        path = getattr(section, "path", None)
        if path is None or path in _STREAMS:
            continue
        problem = unwritable(path)
        if problem is not None:
            what, _, remedy = problem.partition("; ")
            yield section, f"path: {what}", remedy
