"""Tells systemd what the daemon does: ready, alive, stopping.

systemd names a datagram socket in the variable NOTIFY_SOCKET, for units of ``Type=notify``. The
protocol is a line of text for each variable; see the manual page sd_notify(3). It is small, and
libraries for it either need a compiler or are not kept any more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from zeotwisted.reactor import Periodic

__all__ = ["Supervisor", "supervisor"]

#: How long (seconds) a message may take. systemd's socket may be full for a moment.
_PATIENCE = 0.5


def supervisor(
    reactor: Any, status: Callable[[], str], environment: Mapping[str, str] = os.environ
) -> Supervisor | None:
    """Return the service that keeps systemd informed; None if it does not want to know.

    :param status: returns what the daemon does, in one line.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    interval = None
    # In another process it is the watchdog of the parent.
    if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        text = environment.get("WATCHDOG_USEC", "")
        if text.isascii() and text.isdigit() and int(text):
            interval = int(text) / 1e6
    # An abstract address begins with a zero, for which systemd writes "@".
    return Supervisor(reactor, address.replace("@", "\0", 1), status, interval)


class Supervisor(Service):
    """Sends a message when the daemon is ready, when it stops, and again and again meanwhile.

    It must be the last one in the daemon: the others have started before it, and stop after it.

    :param address: of systemd's socket.
    :param status: returns what the daemon does, in one line.
    :param watchdog: systemd restarts the daemon if it hears nothing for so long (seconds); None if
        it does not watch.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, address: str, status: Callable[[], str], watchdog: float | None
    ) -> None:
        self._reactor = reactor
        self._address = address
        self._status = status
        # From the reactor, at half the time, as systemd's manual recommends: a daemon whose reactor
        # is blocked does not answer its clients.
        self._beat = None if watchdog is None else Periodic(reactor, watchdog / 2, self._alive)
        # Whether it was logged that systemd cannot be told.
        self._complained = False

    def startService(self) -> None:
        super().startService()
        # Not before the reactor runs: connections are not accepted yet.
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        if not self.running:
            return
        # The process that was started may have ended, and this one be in the background.
        self._tell("READY=1", f"STATUS={self._status()}", f"MAINPID={os.getpid()}")
        if self._beat is not None:
            self._alive()
            self._beat.start()

    def _alive(self) -> None:
        self._tell("WATCHDOG=1")

    def stopService(self) -> None:
        super().stopService()
        if self._beat is not None:
            # systemd does not watch a service that stops.
            self._beat.stop()
        self._tell("STOPPING=1", "STATUS=stopping")

    def _tell(self, *lines: str) -> None:
        message = "\n".join(line.replace("\n", " ") for line in lines)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.connect(self._address)
                sock.send(message.encode())
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._log.warn(
                    "systemd cannot be told {what} at {address}: {error}; correct NotifyAccess= "
                    "of the unit",
                    what=lines[0],
                    address=self._address.replace("\0", "@"),
                    error=error.strerror or error,
                )
