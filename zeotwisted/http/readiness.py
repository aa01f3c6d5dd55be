"""Whether the daemon should get clients."""

from __future__ import annotations

from collections.abc import Callable

from zeotwisted.storageserver import ServerReport

__all__ = ["CHECKS", "reasons_against"]


def _draining(report: ServerReport) -> list[str]:
    return ["the server stops"] if report.draining else []


def _storages(report: ServerReport) -> list[str]:
    if not report.storages:
        return [] if report.draining else ["no storage is open"]
    return [f"storage {each.name}: {each.problem}" for each in report.storages if each.problem]


def _standbys(report: ServerReport) -> list[str]:
    reasons = []
    for each in report.storages:
        standby = each.standby
        if standby is None:
            continue
        if standby.problem:
            reasons.append(
                f"storage {each.name}: the standby cannot follow its primary: {standby.problem}"
            )
        elif standby.lag > standby.most_lag:
            reasons.append(
                f"storage {each.name}: the standby is {standby.lag:.0f} seconds behind its primary"
            )
    return reasons


#: Each returns the reasons why not.
CHECKS: tuple[Callable[[ServerReport], list[str]], ...] = (_draining, _storages, _standbys)


def reasons_against(report: ServerReport) -> list[str]:
    """Return why the daemon should get no clients; nothing if it should."""
    return [reason for check in CHECKS for reason in check(report)]
