"""Those who watch: how many, how fast, and what becomes of one that does not read."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers

from tests.clientstorage.support import wait_until
from zeotwisted.access import ANONYMOUS
from zeotwisted.http.plots import plots
from zeotwisted.http.snapshot import Snapshot
from zeotwisted.http.stream import MOST_VIEWERS, Stream
from zeotwisted.http.visitors import Refused, Visitor

from .support import all_of, web


class Request:
    """A request of HTTP, as far as the stream uses it."""

    def __init__(self) -> None:
        self.transport: Any = StringTransport()
        self.deadlines: list[str] = []
        self.transport.stay = lambda: self.deadlines.append("none")
        self.transport.answering = lambda: self.deadlines.append("one")
        self.transport.end = self.end
        self.channel: Any = type("Channel", (), {})()
        self.responseHeaders = Headers()
        self.sent: list[bytes] = []
        self.ended = self.finished = False
        self.gone: Any = None

    def setResponseCode(self, *args: Any) -> None: ...

    def notifyFinish(self) -> Any:
        from twisted.internet.defer import Deferred

        self.gone = Deferred()
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None: ...

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def finish(self) -> None:
        self.finished = True
        self.gone.callback(None)

    def end(self) -> None:
        self.ended = True


def visitor(name: str = "1") -> Visitor:
    return Visitor(ANONYMOUS, frozenset({name}), frozenset(), False)


class Snapshots:
    """Counts what is made: one a second for all who may see the same."""

    def __init__(self, clock: Clock) -> None:
        self.made = 0
        self._clock = clock
        self._last: dict[Any, tuple[float, Snapshot]] = {}

    def of(self, visitor: Visitor) -> Snapshot:
        now = self._clock.seconds()
        if visitor.seen not in self._last or self._last[visitor.seen][0] < now:
            self.made += 1
            self._last[visitor.seen] = now, Snapshot({"n": str(self.made)}, {}, plots([], now))
        return self._last[visitor.seen][1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def snapshots(clock: Clock) -> Snapshots:
    return Snapshots(clock)


@pytest.fixture
def stream(snapshots: Any, clock: Clock) -> Stream:
    return Stream(snapshots, clock)


def pump(clock: Clock, seconds: int) -> None:
    clock.pump([1.0] * seconds)


def test_nothing_is_made_while_nobody_watches(
    stream: Stream, snapshots: Snapshots, clock: Clock
) -> None:
    pump(clock, 10)
    assert not clock.getDelayedCalls() and not snapshots.made
    request = Request()
    stream.watch(request, visitor())
    pump(clock, 3)
    assert snapshots.made == 4 == len(request.sent) - 1
    request.gone.callback(None)
    pump(clock, 2)
    assert not clock.getDelayedCalls() and snapshots.made == 4


def test_one_snapshot_a_second_for_all_who_see_the_same(
    stream: Stream, snapshots: Snapshots, clock: Clock
) -> None:
    requests = [Request() for _ in range(6)]
    for number, request in enumerate(requests):
        stream.watch(request, visitor(str(number % 2)))
    pump(clock, 1)
    snapshots.made = 0
    pump(clock, 5)
    assert snapshots.made == 10
    assert len({request.sent[-1] for request in requests}) == 2
    stream.close()
    assert all(request.ended for request in requests) and not clock.getDelayedCalls()


def test_not_more_than_there_may_be(stream: Stream) -> None:
    requests = [Request() for _ in range(MOST_VIEWERS)]
    for request in requests:
        stream.watch(request, visitor())
    with pytest.raises(Refused) as caught:
        stream.watch(Request(), visitor())
    assert caught.value.status == 503
    requests[0].gone.errback(ConnectionError())
    stream.watch(Request(), visitor())


def test_who_does_not_read_is_dropped(stream: Stream, clock: Clock) -> None:
    lazy, other = Request(), Request()
    for request in (lazy, other):
        stream.watch(request, visitor())
    lazy.producer.pauseProducing()
    sent = len(lazy.sent)
    pump(clock, 10)
    assert not lazy.ended
    pump(clock, 3)
    assert lazy.ended and len(lazy.sent) == sent, "nothing waits for it in memory"
    assert not other.ended and len(other.sent) > 10 and len(stream) == 1


def test_who_reads_again_stays(stream: Stream, clock: Clock) -> None:
    request = Request()
    stream.watch(request, visitor())
    for _ in range(3):
        request.producer.pauseProducing()
        pump(clock, 8)
        request.producer.resumeProducing()
        pump(clock, 1)
    assert not request.ended and len(stream) == 1


def test_one_connection_does_not_last_for_ever(stream: Stream, clock: Clock) -> None:
    """The browser connects again, and proves again who it is."""
    request = Request()
    stream.watch(request, visitor())
    pump(clock, 599)
    assert not request.finished
    pump(clock, 3)
    assert request.finished and not len(stream)
    assert request.deadlines == ["none", "one"], "it may not read the rest"


def test_a_real_viewer_that_goes() -> None:
    with web() as site:
        stream = site.http.stream
        with site.connect() as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            wait_until("it watches", lambda: len(stream) == 1)
            assert site.get("/live")[0] == 200
        wait_until("it has gone", lambda: not len(stream))


def test_a_real_viewer_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeotwisted.http.stream._PATIENCE", 0.5)
    with web() as site:
        stream = site.http.stream
        with site.connect() as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            wait_until("it watches", lambda: len(stream) == 1)
            (request,) = stream._viewers
            # More than the system takes: it would need minutes for that much of what is sent.
            site.served.ask(request.write, b":" + b"x" * 10**7 + b"\n\n")
            wait_until("it is dropped", lambda: not len(stream))
            with pytest.raises(ConnectionResetError):
                all_of(sock)


def test_a_real_viewer_that_does_not_read_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is over while it does not read, and nothing has noticed that yet."""
    monkeypatch.setattr("zeotwisted.http.guard._DELIVERY", 0.5)
    with web() as site:
        stream = site.http.stream
        with site.connect() as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            wait_until("it watches", lambda: len(stream) == 1)
            (request,) = stream._viewers
            monkeypatch.setattr("zeotwisted.http.stream._LONGEST", 0.0)
            site.served.ask(request.write, b":" + b"x" * 10**7 + b"\n\n")
            wait_until("its time is over", lambda: not len(stream))
            wait_until("it is gone", lambda: not site.http._guard._connections)


def test_too_many_viewers_are_told_so() -> None:
    with web() as site:
        socks = [site.connect() for _ in range(MOST_VIEWERS)]
        for sock in socks:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        wait_until("all watch", lambda: len(site.http.stream) == MOST_VIEWERS)
        status, _, body = site.get("/events")
        assert status == 503 and "watch already" in body
        assert site.get("/")[0] == 200
        for sock in socks:
            sock.close()
