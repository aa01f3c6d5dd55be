"""What has to be done every second, and may wait for a database that hangs."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

from twisted.logger import Logger

from ..floods import brief

__all__ = ["Housekeeping"]

#: How long (seconds) to wait before doing it again.
_PAUSE = 1.0

#: How long (seconds) to wait for the end of the thread.
_LONGEST_END = 1.0


class Housekeeping:
    """A thread of its own for it: news do not wait for it.

    :param name: the name of the storage.
    """

    _log = Logger()

    def __init__(self, name: str, *functions: Callable[[], object]) -> None:
        self._name = name
        self._functions = functions
        self._stopped = Event()
        self._thread = Thread(target=self._work, name=f"zeotwisted keeps {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; do not wait for long."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_END)

    def _work(self) -> None:
        while not self._stopped.wait(_PAUSE):
            for function in self._functions:
                try:
                    function()
                except Exception as error:
                    # The news reader tells if the database is lost.
                    self._log.debug("{name!r}: {error}", name=self._name, error=brief(error))
