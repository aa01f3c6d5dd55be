"""Sections for storages that change the form of the records of another one.

They stand for those of packages such as zc.zlibstorage: such a package is named by ``%import``.
"""

from __future__ import annotations

from typing import Any

from ZODB.tests.hexstorage import HexStorage, ServerHexStorage

__all__ = ["Section", "ServerSection"]


class Section:
    """What a configuration makes of ``<hexstorage>``."""

    kind = HexStorage

    def __init__(self, section: Any) -> None:
        self.config = section
        self.name = section.getSectionName()

    def open(self) -> HexStorage:
        return self.kind(self.config.base.open())


class ServerSection(Section):
    """What a configuration makes of ``<serverhexstorage>``: the clients convert the records."""

    kind = ServerHexStorage
