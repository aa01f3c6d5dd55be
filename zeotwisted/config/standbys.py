"""The sections ``<standby>``: which storages follow those of other servers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .clienttls import ClientTLS
from .tls import ContextError

__all__ = ["StandbyMistake", "StandbySettings", "standbys_from"]


@dataclass(frozen=True)
class StandbySettings:
    """What a standby follows.

    :ivar storage_id: the name of the storage here.
    :ivar primary: the addresses of the primary.
    :ivar most_lag: for how long (seconds) it may lack something before it is not ready.
    :ivar options: further arguments of `StorageClient`, such as the storage's name at the primary.
    """

    storage_id: str
    primary: tuple[Any, ...]
    most_lag: float = 60.0
    options: Mapping[str, Any] = field(default_factory=dict)


class StandbyMistake(ValueError):
    """A section cannot be used.

    :ivar section: the section.
    :ivar what: the mistake.
    :ivar remedy: what to write instead.
    """

    def __init__(self, section: Any, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.section = section
        self.what = what
        self.remedy = remedy


def standbys_from(
    sections: Iterable[Any], storages: Collection[str]
) -> tuple[StandbySettings, ...]:
    """Return the settings of the sections.

    :param storages: the names of the storages that are served.
    :raises StandbyMistake: one of them cannot be used.
    """
    found: dict[str, StandbySettings] = {}
    for section in sections:
        settings = _settings(section, storages)
        if settings.storage_id in found:
            raise StandbyMistake(
                section,
                f"a second <standby> for storage {settings.storage_id}",
                "a storage follows one primary; write all of its addresses into one section",
            )
        found[settings.storage_id] = settings
    return tuple(found.values())


def _settings(section: Any, storages: Collection[str]) -> StandbySettings:
    name = section.getSectionName()
    if name is None and len(storages) == 1:
        (name,) = storages
    if name not in storages:
        known = ", ".join(sorted(storages))
        raise StandbyMistake(
            section,
            "<standby>: which storage it is for is not said"
            if name is None
            else f"<standby {name}>: there is no storage of that name",
            f"name one of the storages, which are {known}",
        )
    options: dict[str, Any] = {"storage": section.storage or name}
    for key in ("username", "password_file", "realm"):
        value = getattr(section, key)
        if value is not None:
            options[key] = value
    if section.ssl is not None:
        try:
            options["ssl"] = ClientTLS(section.ssl)
        except ContextError as error:
            raise StandbyMistake(section.ssl, f"<ssl>: {error.what}", error.remedy) from None
        options["ssl_server_hostname"] = section.ssl.server_hostname
    return StandbySettings(name, tuple(section.primary), section.max_lag, options)
