"""Puts the report of a server together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .connections import Clients
from .figures import ServerReport
from .limits import Limits
from .storage import ServedStorage

__all__ = ["server_report"]


def server_report(
    clients: Clients, storages: Iterable[ServedStorage], limits: Limits, draining: bool
) -> ServerReport:
    """Return the state of a server."""
    states = clients.states()
    registered = [each for each in states if each.registered]
    slow = [max(each.lag, each.silent) for each in states if each.queued or each.silent]
    return ServerReport(
        figures=clients.figures,
        storages=[served.report() for served in storages],
        versions=Counter(each.protocol for each in registered),
        unregistered=len(states) - len(registered),
        slow=len(slow),
        lag=max(slow, default=0.0),
        limits=limits.report(),
        failed_logins=clients.logins.failures,
        health_checks=limits.admission.health_checks,
        probes=limits.admission.probes,
        draining=draining,
    )
