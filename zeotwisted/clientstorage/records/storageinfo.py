"""What the server tells of its storage: how large it is, and what it can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["StorageInfo"]


class StorageInfo:
    """The server's facts about its storage.

    Servers tell them when a client connects, after its own commits, and after a pack. Commits of
    other clients change how large the storage is, too. To tell everybody would cost each client
    something for each commit, for what is hardly ever asked; so `current` asks the server, if there
    has been a transaction since the facts were told.

    :param last_transaction: tells the last transaction that this client has heard of.
    """

    def __init__(self, last_transaction: Callable[[], bytes]) -> None:
        self._last_transaction = last_transaction
        self._facts: dict[str, Any] = {
            "length": 0,
            "size": 0,
            "name": "ZEO Client",
            "supportsUndo": False,
            "interfaces": (),
        }
        # The last transaction that they take into account.
        self._as_of = last_transaction()

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def connected(self, facts: Mapping[str, Any]) -> None:
        """A server has told all of them, right after all that had been missed."""
        self._facts.update(facts)
        self._as_of = self._last_transaction()

    def update(self, facts: Mapping[str, Any]) -> None:
        """A server has told some of them, on its own."""
        self._facts.update(facts)

    def current(self, name: str, ask: Callable[[], Mapping[str, Any] | None]) -> Any:
        """Return a fact as of the last transaction.

        :param ask: asks the server for all facts. None: it cannot be asked now, and the last known
            one has to do.
        """
        last = self._last_transaction()
        if last != self._as_of:
            facts = ask()
            if facts is not None:
                self._facts.update(facts)
                self._as_of = last
        return self._facts[name]
