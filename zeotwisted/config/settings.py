"""The settings of a server, as ``server.xml`` describes them.

That file is the one description of a setting: its name, type, default and documentation. The keys
of ``zeo.conf``, the options of ``twistd zeo`` and the pages about both are made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .loader import read_schema
from .remedies import EXPECTED

__all__ = ["Setting", "server_settings"]

#: Keys of <zeo> that say where the server is, and not how it treats its clients.
_PLACES = ("address", "pid-filename")


@dataclass(frozen=True)
class Setting:
    """One setting.

    :ivar key: its name in a configuration, and of the option.
    :ivar attribute: its name in Python, see `storageserver.ServerOptions`.
    :ivar default: None if there is none, or if it depends on something else.
    :ivar is_flag: whether it is on or off.
    :ivar description: what it does; the first sentence says the most important.
    """

    key: str
    attribute: str
    default: Any
    is_flag: bool
    description: str
    _datatype: Callable[[str], Any]
    _remedy: str | None

    @property
    def summary(self) -> str:
        """The first sentence of the description, without the full stop."""
        return self.description.partition(". ")[0].rstrip(".")

    def convert(self, text: str) -> Any:
        """Return the value that `text` means.

        :raises ValueError: it stands for none; the message says what to write instead.
        """
        try:
            return self._datatype(text)
        except ValueError as error:
            # The messages of our own data types end with that.
            raise ValueError(self._remedy or str(error).rpartition("; ")[2]) from None


@lru_cache
def server_settings() -> tuple[Setting, ...]:
    """Return all settings that say how a server treats its clients, in the order of the schema."""
    whole = read_schema("schema.xml")
    settings = []
    for key, info in whole.gettype("zeo"):
        if info.issection() or key in _PLACES:
            continue
        name = whole.registry.find_name(info.datatype)
        default = info.getdefault()
        settings.append(
            Setting(
                key,
                info.attribute,
                None if default is None else default.convert(info.datatype),
                name == "boolean",
                " ".join(info.description.split()),
                info.datatype,
                EXPECTED[name][1] if name in EXPECTED else None,
            )
        )
    return tuple(settings)
