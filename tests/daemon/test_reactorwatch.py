"""A storage that runs the daemon's reactor is found out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor

from zeotwisted.daemon.reactorwatch import ReactorTaken, ReactorWatch

TIMEOUT = 20


class Storage:
    """Starts a thread when it is opened."""

    closed = False

    def __init__(self, run: Callable[[], Any]) -> None:
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def reactor() -> SelectReactor:
    reactor = SelectReactor()
    reactor._registerAsIOThread = False
    return reactor


def test_runs_the_reactor(reactor: SelectReactor) -> None:
    opened: list[Storage] = []

    def open() -> Storage:
        opened.append(Storage(lambda: reactor.run(installSignalHandlers=False)))
        return opened[0]

    with pytest.raises(ReactorTaken):
        ReactorWatch(reactor).opened(open)
    assert opened[0].closed
    # Its thread would keep the process from ending.
    opened[0].thread.join(TIMEOUT)
    assert not opened[0].thread.is_alive()


def test_thread_that_has_not_come_to_the_reactor_yet(reactor: SelectReactor) -> None:
    waited_for = threading.Event()

    class Taken(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited_for.set()
            return super().wait(TIMEOUT)

    def run() -> None:
        waited_for.wait(TIMEOUT)
        reactor.run(installSignalHandlers=False)

    watch = ReactorWatch(reactor)
    watch._taken = Taken()
    with pytest.raises(ReactorTaken):
        watch.opened(lambda: Storage(run))


def test_has_a_thread_of_its_own(reactor: SelectReactor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeotwisted.daemon.reactorwatch._PATIENCE", 0.01)
    end = threading.Event()
    storage = ReactorWatch(reactor).opened(lambda: Storage(end.wait))
    end.set()
    assert not storage.closed


def test_reactor_runs_already_in_this_thread(reactor: SelectReactor) -> None:
    """As in `zeotwisted.server`, whose reactor runs before the storages are opened."""
    done: list[Storage] = []

    def start() -> None:
        done.append(ReactorWatch(reactor).opened(lambda: Storage(lambda: None)))
        reactor.stop()

    reactor.callWhenRunning(start)
    reactor.run(installSignalHandlers=False)
    assert not done[0].closed
