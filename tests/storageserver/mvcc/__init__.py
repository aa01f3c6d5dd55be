"""A section of a configuration for a storage that has its own views of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ZODB.tests.MVCCMappingStorage import MVCCMappingStorage

__all__ = ["Section", "Storage"]


class Storage(MVCCMappingStorage):
    """An IMVCCStorage, as RelStorage is.

    :param closed: a file that is made when it is closed.
    """

    def __init__(self, closed: str | None = None) -> None:
        super().__init__("mvcc")
        self._closed = closed

    def close(self) -> None:
        if self._closed is not None:
            Path(self._closed).touch()
        super().close()


class Section:
    """What a configuration makes of ``<mvccstorage>``."""

    def __init__(self, section: Any) -> None:
        self.config = section
        self.name = section.getSectionName()

    def open(self) -> Storage:
        return Storage(self.config.closed)
