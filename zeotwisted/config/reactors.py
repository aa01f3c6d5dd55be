"""Finds storages that run Twisted's reactor in a thread; the daemon runs the same reactor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["own_reactor"]

#: The packages whose storages run the reactor.
_PACKAGES = ("zc.zrs",)


def own_reactor(section: Any) -> str | None:
    """Return the name of the first section in `section` whose storage runs the reactor, or None.

    :param section: ZConfig's value of a storage's section.
    """
    for each in _all_within(section):
        module = type(each).__module__
        if any(module == package or module.startswith(f"{package}.") for package in _PACKAGES):
            config = getattr(each, "config", None)
            return config.getSectionType() if config is not None else module
    return None


def _all_within(section: Any) -> Iterator[Any]:
    waiting = [section]
    while waiting:
        each = waiting.pop()
        yield each
        # By convention, an object that opens a storage has its section as `config`.
        config = getattr(each, "config", None)
        for name in config.getSectionAttributes() if config is not None else ():
            value = getattr(config, name)
            waiting += value if isinstance(value, list) else [value]
