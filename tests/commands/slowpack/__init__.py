"""A storage whose packs wait at their first record for a file."""

from __future__ import annotations

import os
import time
from typing import Any

from ZODB.config import BaseConfig
from ZODB.FileStorage import FileStorage


class SlowPack(FileStorage):
    """Its packs wait for a file."""

    def __init__(self, path: str, go_on: str) -> None:
        super().__init__(path)
        self._go_on = go_on

    def pack(self, t: float, referencesf: Any) -> None:
        def slow(*args: Any) -> Any:
            while not os.path.exists(self._go_on):
                time.sleep(0.01)
            return referencesf(*args)

        super().pack(t, slow)


class Section(BaseConfig):  # type: ignore[misc]
    """The section ``<slowpack>``."""

    def open(self) -> SlowPack:
        return SlowPack(self.config.path, self.config.go_on)
