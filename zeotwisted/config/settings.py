"""The settings of a server, as ``server.xml`` describes them.

That file is the only description of a setting: its name, type, default and documentation. The keys
of ``zeo.conf``, the options of ``twistd zeo`` and the documentation of both are generated from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .loader import read_schema
from .remedies import EXPECTED

__all__ = ["Setting", "server_settings"]

#: Keys of <zeo> that say where the server listens, where its files are, and who its clients are.
#: They are not settings of the server. Neither is the form of the log.
_PLACES = ("accounts", "address", "log-json", "log-level", "pid-filename", "realm")


@dataclass(frozen=True)
class Setting:
    """One setting.

    :ivar key: its name in a configuration, and the option's name.
    :ivar attribute: its name in Python, see `storageserver.ServerOptions`.
    :ivar default: None if there is no default, or if the default depends on something else.
    :ivar is_flag: whether its value is a boolean.
    :ivar is_path: whether its value is a path.
    :ivar description: what it does; the first sentence is the summary.
    """

    key: str
    attribute: str
    default: Any
    is_flag: bool
    is_path: bool
    description: str
    _datatype: Callable[[str], Any]
    _remedy: str | None

    @property
    def summary(self) -> str:
        """The first sentence of the description, without the full stop."""
        return self.description.partition(". ")[0].rstrip(".")

    def convert(self, text: str) -> Any:
        """Return the value that `text` means.

        :raises ValueError: it is not a valid value. The message says what to write instead.
        """
        try:
            return self._datatype(text)
        except ValueError as error:
            # The messages of the data types in `datatypes` end with the remedy.
            raise ValueError(self._remedy or str(error).rpartition("; ")[2]) from None


@lru_cache
def server_settings() -> tuple[Setting, ...]:
    """Return all settings of a server, in the order of the schema."""
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
                name in ("existing-directory", "existing-dirpath"),
                " ".join(info.description.split()),
                info.datatype,
                EXPECTED[name][1] if name in EXPECTED else None,
            )
        )
    return tuple(settings)
