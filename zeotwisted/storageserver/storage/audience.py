"""The clients of a storage, and what all of them are told."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from zeotwisted.protocol import Broadcast

from .listener import Listener

__all__ = ["Audience"]


class Audience:
    """Those that have registered. Call all methods in the reactor's thread.

    Any of them may leave while it is told something. If one fails, the others are still told.
    """

    _log = Logger()

    def __init__(self) -> None:
        # In the order of registration. A dict, because a list would be slow to remove from.
        self._listeners: dict[Listener, None] = {}
        # Those with queued broadcasts that are not sent yet.
        self._told: list[Listener] = []

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> None:
        """Add a client. It is told everything from now on."""
        self._listeners[listener] = None

    def remove(self, listener: Listener) -> None:
        """Remove a client."""
        del self._listeners[listener]

    def tell(self, news: Broadcast, but: Callable[[Listener], bool] = lambda each: False) -> None:
        """Queue a broadcast. It leaves with the next `send`, or before the next answer.

        :param but: returns whether a client is not told.
        """
        for listener in list(self._listeners):
            if not but(listener):
                self._told.append(listener)
                self._attempt(listener, listener.tell, news)

    def send(self) -> None:
        """Send the queued broadcasts.

        Answers are sent before invalidations. To send an invalidation to all clients takes longer
        than the commit, and it wakes their processes, which compete for the processor.
        """
        told, self._told = self._told, []
        for listener in told:
            self._attempt(listener, listener.send)

    def _attempt(self, listener: Listener, tell: Callable[..., None], *args: Broadcast) -> None:
        try:
            tell(*args)
        except Exception:
            self._log.failure("({label}) cannot be told of a commit", label=listener.label)
            listener.drop("it could not be told of a commit")

    def drop(self, reason: str, which: Callable[[Listener], bool] = lambda each: True) -> None:
        """Disconnect the clients.

        :param which: returns whether to disconnect a client.
        """
        for listener in list(self._listeners):
            if which(listener):
                listener.drop(reason)
