"""Sends snapshots to those who watch the page, as server-sent events.

A snapshot is made once a second for all who may see the same, and only while somebody watches.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from .answers import begin
from .snapshot import Snapshots
from .visitors import Refused, Visitor

__all__ = ["MOST_VIEWERS", "Stream"]

#: How many may watch.
MOST_VIEWERS = 20

_STEP = 1.0

#: How long (seconds) a viewer may read nothing, and how long one connection lasts. A browser
#: connects again by itself, and has to prove again who it is.
_PATIENCE = 10.0
_LONGEST = 600.0

#: The type of the answer.
EVENTS = "text/event-stream; charset=utf-8"


@implementer(IPushProducer)
class _Viewer:
    """One who watches."""

    def __init__(self, request: Any, visitor: Visitor, now: float) -> None:
        self.request = request
        self.visitor = visitor
        self.since = now
        #: Since when it reads nothing; None while it reads.
        self.full_since: float | None = None
        self._is_full = False
        request.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        self._is_full = False
        self.full_since = None

    def stopProducing(self) -> None:
        """See `IPushProducer`."""

    def send(self, data: bytes, now: float) -> None:
        """Send an event, unless it has not read the last ones."""
        if not self._is_full:
            self.request.write(data)
        elif self.full_since is None:
            self.full_since = now


class Stream:
    """All who watch.

    :param clock: the reactor.
    """

    _log = Logger()

    def __init__(self, snapshots: Snapshots, clock: Any) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._viewers: dict[Any, _Viewer] = {}
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    def watch(self, request: Any, visitor: Visitor) -> None:
        """Send snapshots to a visitor from now on.

        :raises Refused: too many watch already.
        """
        if len(self._viewers) >= MOST_VIEWERS:
            raise Refused(503, f"there are {MOST_VIEWERS} who watch already; load the page instead")
        begin(request, 200, EVENTS)
        request.transport.stay()
        request.notifyFinish().addBoth(lambda _: self._viewers.pop(request, None))
        self._viewers[request] = _Viewer(request, visitor, self._clock.seconds())
        request.write(b"retry: 3000\n\n")
        if self._timer is None:
            self._tick()

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        try:
            # Viewers with the same snapshot get the same bytes.
            events: dict[int, bytes] = {}
            for viewer in list(self._viewers.values()):
                self._serve(viewer, now, events)
        except Exception:
            self._log.failure("http: a request failed")
            self.close()
        if self._viewers:
            self._timer = self._clock.callLater(_STEP, self._tick)

    def _serve(self, viewer: _Viewer, now: float, events: dict[int, bytes]) -> None:
        if viewer.full_since is not None and now - viewer.full_since > _PATIENCE:
            self._end(viewer)
        elif now - viewer.since > _LONGEST:
            self._viewers.pop(viewer.request, None)
            # It may never read what is left.
            viewer.request.transport.answering()
            viewer.request.unregisterProducer()
            viewer.request.finish()
        else:
            snapshot = self._snapshots.of(viewer.visitor)
            event = events.get(id(snapshot))
            if event is None:
                text = json.dumps(snapshot.plain(), separators=(",", ":"))
                event = events[id(snapshot)] = f"data: {text}\n\n".encode()
            viewer.send(event, now)

    def _end(self, viewer: _Viewer) -> None:
        self._viewers.pop(viewer.request, None)
        viewer.request.transport.end()

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for viewer in list(self._viewers.values()):
            self._end(viewer)
