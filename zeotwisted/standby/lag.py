"""How long a standby has lacked something, and what the log says of it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

__all__ = ["Lag"]


class Lag:
    """The time since a standby had everything.

    The log has one warning when that is too long, and one line when it has everything again.

    :param now: returns a time in seconds.
    :param limit: how long (seconds) it may lack something.
    :param name: the storage's name, for the log.
    :param primary: the addresses of the primary, for the log.
    """

    _log = Logger()

    def __init__(self, now: Callable[[], float], limit: float, name: str, primary: str) -> None:
        self._now = now
        self._limit = limit
        self._about = {"id": name, "primary": primary, "limit": limit}
        self._complete_at = now()
        self._is_late = False

    def has_everything(self) -> None:
        """It has everything now."""
        if self._is_late:
            self._log.info(
                "standby {id!r} has everything that {primary} has again, {lag:.0f} seconds after "
                "it had last",
                lag=self.seconds,
                **self._about,
            )
        self._is_late = False
        self._complete_at = self._now()

    def lacks(self, why: str) -> None:
        """It lacks something, or does not know.

        :param why: what the standby does, for the log.
        """
        if self._is_late or self.seconds <= self._limit:
            return
        self._is_late = True
        self._log.warn(
            "standby {id!r} has not had everything that {primary} has for more than {limit:g} "
            "seconds (max-lag), it {why}; see that the primary is up and can be reached, and that "
            "the disk here is fast enough",
            why=why,
            **self._about,
        )

    @property
    def seconds(self) -> float:
        """How long it has lacked something."""
        return self._now() - self._complete_at
