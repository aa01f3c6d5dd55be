"""Whether the daemon should get clients."""

from __future__ import annotations

from collections.abc import Callable

from zeotwisted.storageserver import StorageServer

__all__ = ["CHECKS", "reasons_against"]


def _draining(server: StorageServer) -> list[str]:
    return ["the server stops"] if server.draining else []


def _storages(server: StorageServer) -> list[str]:
    if not server.served and not server.draining:
        return ["no storage is open"]
    return [
        f"storage {name}: {served.problem}"
        for name, served in server.served.items()
        if served.problem
    ]


#: Each returns the reasons why not. A standby has one more: its lag. They must be cheap: anybody
#: may ask as often as he likes.
CHECKS: tuple[Callable[[StorageServer], list[str]], ...] = (_draining, _storages)


def reasons_against(server: StorageServer) -> list[str]:
    """Return why the daemon should get no clients; nothing if it should."""
    return [reason for check in CHECKS for reason in check(server)]
