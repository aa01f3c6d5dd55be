"""Checks a configuration, as ``--check-config`` does, without opening anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from zeotwisted.access import Access
from zeotwisted.config import (
    ServerConfig,
    StorageOpener,
    address_problem,
    check_server_config,
    storage_problems,
)

from .certificates import date_problem, trusted_problems
from .daemon import configured_http, configured_places
from .exposure import Place, exposed, exposed_http

__all__ = ["check_file", "file_mistakes", "place_mistakes", "warnings"]


def check_file(reactor: Any, path: str) -> tuple[ServerConfig | None, list[str], list[str]]:
    """Return the configuration in a file, its mistakes, and warnings.

    The configuration is None if there is a mistake.
    """
    config, mistakes = check_server_config(path)
    if config is None:
        return None, mistakes, []
    listeners = [*config.listeners, *([config.http.listener] if config.http else [])]
    sources = [each.files for each in listeners if each.files is not None]
    own = [each.certificate for each in sources]
    now = datetime.now(timezone.utc)
    found = warnings(configured_places(reactor, config), config.access, own)
    http = configured_http(reactor, config.http)
    if http is not None:
        found += filter(None, [exposed_http(http[0], config.access)])
    for file in sorted({file for each in sources for file in each.trusted}):
        found += trusted_problems(file, now)
    return config, [], found


def file_mistakes(openers: Sequence[StorageOpener]) -> list[str]:
    """Return what is wrong with the files of storages that options name."""
    return [
        f"storage {opener.name}: {what}; {remedy}"
        for opener in openers
        for _, _, what, remedy in storage_problems(opener.section)
    ]


def place_mistakes(places: Iterable[Place], option: str = "--listen") -> list[str]:
    """Return which endpoints this machine cannot listen at."""
    mistakes = []
    for place in places:
        problem = None if place.host is None else address_problem((place.host, 0))
        if problem is not None:
            mistakes.append("{} {}: {}; {}".format(option, place.description, *problem))
    return mistakes


def warnings(
    places: Iterable[Place], access: Access | None, certificates: Iterable[str]
) -> list[str]:
    """Return what is allowed, but not wise: open doors, and certificates that have expired."""
    now = datetime.now(timezone.utc)
    found = [date_problem(file, now) for file in certificates]
    found += [exposed(place, access) for place in places]
    return [each for each in found if each is not None]
