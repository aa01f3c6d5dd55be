"""The queue of invalidations, and the queue of publications, against lists of everything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zeotwisted.protocol.oids import split
from zeotwisted.storageserver.storage.invalidations import _OVERHEAD, InvalidationQueue
from zeotwisted.storageserver.storage.publications import Publication, Publications

from ...models import effort

Entry = tuple[bytes, list[bytes]]


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


oids = st.lists(st.integers(1, 9).map(tid), max_size=9, unique=True)


class Invalidations(RuleBasedStateMachine):
    """The model has the transactions since some tid. It forgets nothing by itself."""

    @initialize(
        size=st.integers(1, 5),
        entries=st.integers(0, 9),
        past=st.lists(oids, max_size=7),
    )
    def begin(self, size: int, entries: int, past: list[list[bytes]]) -> None:
        """The queue may have room for more entries than its size; `past` is what was read."""
        self.size, self.most = size, entries * (_OVERHEAD + 16)
        recent = [(tid(number), changed) for number, changed in enumerate(past, 10)]
        self.now = 9 + len(past)
        self.queue = InvalidationQueue(size, self.most, tid(self.now), recent)
        # The oldest one that was read tells only since when the queue is complete.
        self.everything: list[Entry] = recent[1:]
        self.since: bytes | None = recent[0][0] if recent else tid(self.now)

    @rule(changed=oids, pause=st.integers(1, 3))
    def commit(self, changed: list[bytes], pause: int) -> None:
        self.now += pause
        self.queue.append(tid(self.now), changed)
        if self.since is None:
            self.since = tid(self.now)
        else:
            self.everything.append((tid(self.now), changed))

    @rule()
    def forget(self) -> None:
        self.queue.forget()
        self.everything, self.since = [], None

    def kept(self) -> tuple[bytes | None, list[Entry]]:
        """Return what the queue has to keep: the longest end that is short or small enough."""
        since, kept = self.since, list(self.everything)
        while len(kept) > self.size and _memory(kept) > self.most:
            since = kept.pop(0)[0]
        return since, kept

    @invariant()
    def answers_what_the_model_answers(self) -> None:
        since, kept = self.kept()
        assert self.queue.last == tid(self.now)
        for seen in map(tid, range(self.now + 3)):
            answer = self.queue.since(seen)
            if since is None or seen < since:
                assert answer is None
            else:
                assert answer is not None and answer[0] == tid(self.now)
                later = [oid for number, changed in kept if number > seen for oid in changed]
                assert sorted(split(answer[1])) == sorted(later)
            assert (seen in self.queue) == any(number == seen for number, _ in kept)


def _memory(entries: list[Entry]) -> int:
    return sum(_OVERHEAD + 8 * len(changed) for _, changed in entries)


class PublicationsMachine(RuleBasedStateMachine):
    """The model has all transactions in their order, and how many are dealt with."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Publication] = []
        self.sent = 0
        self.calls: list[Any] = []
        self.queue = Publications(self._publish, self._send, self._call_from_thread)
        # The model.
        self.outcomes: dict[bytes, bool | None] = {}
        self.dealt_with = 0
        self.expected: list[bytes] = []
        # The objects by which the unsettled ones are settled, in any order.
        self.unsettled: list[Publication] = []
        #: The listeners fail at this one.
        self.bad: bytes | None = None

    def _publish(self, publication: Publication) -> None:
        self.published.append(publication)
        if publication.tid == self.bad:
            raise RuntimeError("a listener has failed")

    def _send(self) -> None:
        self.sent = len(self.published)

    def _call_from_thread(self, call: Any) -> None:
        self.calls.append(call)

    def next(self, outcome: bool | None) -> bytes:
        made = tid(len(self.outcomes))
        self.outcomes[made] = outcome
        return made

    @rule(changed=oids)
    def reserve(self, changed: list[bytes]) -> None:
        self.unsettled.append(self.queue.reserve(self.next(None), changed, self))

    @rule(changed=oids)
    def commit_from_outside(self, changed: list[bytes]) -> None:
        calls = len(self.calls)
        self.queue.add(self.next(True), changed)
        assert len(self.calls) == calls + 1, "the reactor will not learn of it"

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data(), committed=st.booleans())
    def settle(self, data: Any, committed: bool) -> None:
        publication = data.draw(st.sampled_from(self.unsettled))
        self.unsettled.remove(publication)
        self.outcomes[publication.tid] = committed
        self.queue.settle(publication, committed)

    @precondition(lambda self: self.outcomes)
    @rule(data=st.data())
    def a_listener_will_fail(self, data: Any) -> None:
        self.bad = data.draw(st.sampled_from(sorted(self.outcomes)))

    def deal(self) -> bool:
        """Deal with what can be dealt with; return whether a listener has failed."""
        for tid, outcome in list(self.outcomes.items())[self.dealt_with :]:
            if outcome is None:
                return False
            self.dealt_with += 1
            if outcome:
                self.expected.append(tid)
                if tid == self.bad:
                    return True
        return False

    def call(self, call: Any) -> None:
        fails = self.deal()
        try:
            call()
        except RuntimeError:
            assert fails
        else:
            assert not fails
        assert [publication.tid for publication in self.published] == self.expected

    @rule()
    def publish(self) -> None:
        sent = self.sent
        self.call(self.queue.publish)
        assert self.sent == sent

    @rule()
    def drain(self) -> None:
        self.call(self.queue.drain)
        assert self.sent == len(self.published)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def the_reactor_runs_a_call(self, data: Any) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        self.call(call)
        assert self.sent == len(self.published)

    def teardown(self) -> None:
        self.bad = None
        for publication in self.unsettled:
            self.outcomes[publication.tid] = True
            self.queue.settle(publication, True)
        self.call(self.queue.drain)
        committed = [tid for tid, outcome in self.outcomes.items() if outcome]
        assert self.expected == committed, "one was lost"


Invalidations.TestCase.settings = effort(50, 30)
TestInvalidations = Invalidations.TestCase
PublicationsMachine.TestCase.settings = effort(50, 30)
TestPublications = PublicationsMachine.TestCase
