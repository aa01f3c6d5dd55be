"""Keeps certificates fresh while the daemon runs, and warns before they expire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service

from zeotwisted.reactor import Periodic

from .certificates import warn_of_dates, warn_of_trusted_dates
from .secured import RenewedEndpoint

__all__ = ["LOOK", "WARN", "Renewal"]

#: How often the files are looked at, in seconds. It costs a `stat` for each.
LOOK = 2.0

#: How often dates are looked at, in seconds.
WARN = 24 * 60 * 60.0


class Renewal(Service):
    """Looks at the certificates of endpoints from time to time.

    :param endpoints: those whose certificates are read again.
    """

    def __init__(self, reactor: Any, endpoints: Sequence[RenewedEndpoint]) -> None:
        self._endpoints = endpoints
        self._tasks = []
        if endpoints:
            self._tasks.append(Periodic(reactor, LOOK, self._look))
            self._tasks.append(Periodic(reactor, WARN, self.warn))

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        for task in self._tasks:
            task.start()

    def stopService(self) -> None:
        """Stop looking."""
        super().stopService()
        for task in self._tasks:
            task.stop()

    def warn(self) -> None:
        """Log a warning for each certificate that has expired, or will expire soon."""
        for endpoint in self._endpoints:
            warn_of_dates([endpoint.files.certificate])
        trusted = {file for endpoint in self._endpoints for file in endpoint.files.trusted}
        warn_of_trusted_dates(sorted(trusted))

    def renew(self) -> bool:
        """Read all files again; for SIGHUP. Return False, as no log file is reopened."""
        for endpoint in self._endpoints:
            endpoint.renew()
        self.warn()
        return False

    def _look(self) -> None:
        if any([endpoint.look() for endpoint in self._endpoints]):
            self.warn()
