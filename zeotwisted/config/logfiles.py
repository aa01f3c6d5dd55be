"""Checks the files of an <eventlog> section while its mistakes can still be placed in a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeotwisted.files import unwritable

__all__ = ["unwritable_logs"]

#: What ZConfig takes for a stream of the process.
_STREAMS = ("STDERR", "STDOUT")


def unwritable_logs(eventlog: Any) -> Iterator[tuple[Any, str, str]]:
    """Yield the sections whose log file cannot be written, with what is wrong and the remedy.

    :param eventlog: what ZConfig made of the section, or None.
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
