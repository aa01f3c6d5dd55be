"""The invalidation queue against a list of everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol.oids import split
from zeotwisted.server.invalidations import InvalidationQueue


def tid(number: int) -> bytes:
    return number.to_bytes(8, "big")


oids = st.sets(st.integers(1, 9).map(tid), min_size=1).map(sorted)


@given(size=st.integers(1, 5), before=st.lists(oids, max_size=7), after=st.lists(oids, max_size=9))
def test_queue(size: int, before: list[list[bytes]], after: list[list[bytes]]) -> None:
    """`before` is what the storage can tell of its past, `after` what happens then."""
    past = [(tid(number), changed) for number, changed in enumerate(before, 10)]
    last = past[-1][0] if past else tid(9)
    queue = InvalidationQueue(size, last, past[-size:])
    everything = list(past)
    for number, changed in enumerate(after, 10 + len(before)):
        queue.append(tid(number), changed)
        everything.append((tid(number), changed))
    now = 9 + len(before) + len(after)
    assert queue.last == tid(now)
    for seen in range(8, now + 3):
        expected = {oid for number, changed in everything if number > tid(seen) for oid in changed}
        answer = queue.since(tid(seen))
        if answer is not None:
            latest, joined = answer
            assert latest == tid(now)
            assert set(split(joined)) == expected
        missed = now - seen
        # As many transactions as the queue is long are always known, if it has lived as long.
        if missed <= min(size, len(after)):
            assert answer is not None


def test_unknown_past() -> None:
    queue = InvalidationQueue(10, tid(5))
    assert queue.since(tid(5)) == (tid(5), b"")
    assert queue.since(tid(4)) is None
    queue.append(tid(6), [tid(1)])
    assert queue.since(tid(5)) == (tid(6), tid(1))
    assert queue.since(tid(4)) is None
