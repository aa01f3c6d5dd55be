"""The queue of transactions of a storage that other processes change, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.python.failure import Failure

from zeotwisted.storageserver.engine import OwnCommit
from zeotwisted.storageserver.storage.publications import Publication, Publications


class Daemon:
    """Writes down what is published, sent and answered, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.calls: list[Callable[[], object]] = []
        self.publications = Publications(
            lambda publication: self.events.append(("publish", publication)),
            lambda: self.events.append(("send", None)),
            self.calls.append,
        )

    def run(self) -> None:
        """Do what was left to the reactor's thread."""
        while self.calls:
            self.calls.pop(0)()

    def said(self, *kinds: str) -> list[Any]:
        return [
            value.tid if isinstance(value, Publication) else value
            for kind, value in self.events
            if kind in kinds
        ]

    def own(self, answered_at_once: bool = False) -> OwnCommit:
        """Return the commit of a client, which notes its answer."""
        own = OwnCommit("client", [b"a"], None)

        def published(tid: bytes) -> None:
            self.events.append(("answer", b"answer " + tid))
            if answered_at_once:
                self.publications.answered(own)

        own.published.addCallback(published)
        return own


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_the_committer_is_answered_before_the_next_one_is_published(daemon: Daemon) -> None:
    own = daemon.own()
    daemon.publications.add(b"1", [b"x"])
    daemon.publications.add(b"2", [b"a"], own)
    daemon.publications.add(b"3", [b"y"])
    daemon.run()
    assert daemon.said("publish", "answer") == [b"1", b"2", b"answer 2"]
    daemon.publications.drain()
    assert daemon.said("publish", "answer")[3:] == []
    daemon.publications.answered(own)
    assert daemon.said("publish", "answer")[3:] == [b"3"]
    # What was published is also sent.
    assert daemon.events[-1] == ("send", None)


def test_whose_answer_it_is(daemon: Daemon) -> None:
    """A client that was answered in another way does not end the wait for this one."""
    own = daemon.own()
    daemon.publications.add(b"1", [b"a"], own)
    daemon.publications.add(b"2", [b"x"])
    daemon.run()
    daemon.publications.answered(daemon.own())
    assert daemon.said("publish") == [b"1"]


def test_nobody_waits_for_a_commit_that_has_failed(daemon: Daemon) -> None:
    own = OwnCommit("client", [b"a"], None)
    own.published.addErrback(lambda failure: None)
    own.failed(Failure(OSError()))
    daemon.publications.add(b"1", [b"a"], own)
    daemon.publications.add(b"2", [b"x"])
    daemon.run()
    assert daemon.said("publish") == [b"1", b"2"]


def test_the_origin(daemon: Daemon) -> None:
    """The engine takes it away if the client has to be told, too."""
    own, told = daemon.own(True), daemon.own(True)
    told.origin = None
    daemon.publications.add(b"1", [b"a"], own)
    daemon.publications.add(b"2", [b"a"], told)
    daemon.publications.add(b"3", [b"x"])
    daemon.run()
    assert [value.origin for kind, value in daemon.events if kind == "publish"] == [
        "client",
        None,
        None,
    ]


def test_many_commits_at_once(daemon: Daemon) -> None:
    """Each answer goes on with the next one, and that must not exceed the recursion limit."""
    tids = [b"%04d" % number for number in range(1000)]
    commits = [daemon.own(True) for _ in tids]
    for tid, own in zip(tids, commits, strict=True):
        daemon.publications.add(tid, [b"a"], own)
    daemon.calls[0]()
    expected = [event for tid in tids for event in (tid, b"answer " + tid)]
    assert daemon.said("publish", "answer") == expected
    # A Deferred keeps an exception of its callbacks to itself.
    assert [own for own in commits if isinstance(own.published.result, Failure)] == []
