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


def _standbys(server: StorageServer) -> list[str]:
    reasons = []
    for name, served in server.served.items():
        standby = None if served.standby is None else served.standby.report()
        if standby is None:
            continue
        if standby.problem:
            reasons.append(
                f"storage {name}: the standby cannot follow its primary: {standby.problem}"
            )
        elif standby.lag > standby.most_lag:
            reasons.append(
                f"storage {name}: the standby is {standby.lag:.0f} seconds behind its primary"
            )
    return reasons


#: Each returns the reasons why not. They must be cheap: anybody may ask as often as he likes.
CHECKS: tuple[Callable[[StorageServer], list[str]], ...] = (_draining, _storages, _standbys)


def reasons_against(server: StorageServer) -> list[str]:
    """Return why the daemon should get no clients; nothing if it should."""
    return [reason for check in CHECKS for reason in check(server)]
