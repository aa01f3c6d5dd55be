"""Random histories of a model are right, and each is wrong after any single corruption."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ZODB.utils import maxtid, p64, z64

from .checker import check
from .history import (
    Event,
    Finished,
    Finishing,
    Invalidated,
    InvalidatedAll,
    Noted,
    Read,
    Snapshot,
    Stored,
)
from .model import Model

CLIENTS = ("ann", "bob", "eve")
OIDS = tuple(map(p64, range(1, 5)))

clients = st.sampled_from(CLIENTS)
oids = st.sampled_from(OIDS)
records = st.dictionaries(oids, st.none() | st.binary(max_size=2), min_size=1)
#: Methods of the model, with their arguments.
steps = st.one_of(
    st.tuples(st.sampled_from(("begin", "hear", "verify", "forget")), clients),
    st.tuples(st.just("begin"), clients),
    st.tuples(st.just("commit"), clients, records),
    st.tuples(st.just("read"), clients, oids),
    st.tuples(st.just("read"), clients, oids, st.integers(1, 200).map(p64) | st.just(maxtid)),
)


@st.composite
def models(draw: Any) -> Model:
    model = Model()
    # Something of each kind is always there.
    for tid in (10, 20):
        model.commit("ann", {OIDS[0]: b"data", OIDS[1]: b"data"})
        model.hear("bob")
        model.begin("bob")
        model.read("bob", OIDS[0], p64(tid + 1))
    model.read("bob", OIDS[0], p64(11))
    for name, *arguments in draw(st.lists(steps, max_size=30)):
        getattr(model, name)(*arguments)
    return model


@given(models())
def test_what_the_model_does_is_right(model: Model) -> None:
    assert check(model.history, model.transactions) == []


def replaced(model: Model, event: Event, **fields: Any) -> None:
    what: Any = event.what
    events = model.history.events
    events[events.index(event)] = event._replace(what=what._replace(**fields))


def of(model: Model, *kinds: type) -> list[Any]:
    return [event for event in model.history.events if isinstance(event.what, kinds)]


def needed(model: Model, event: Event) -> bool:
    """Whether a client needs to be told: it has seen something, and does not expect anything."""
    before = [e.what for e in model.history.events if e.client == event.client]
    before = before[: before.index(event.what)]
    news = [what for what in before if isinstance(what, Invalidated | InvalidatedAll | Noted)]
    started = any(isinstance(what, Snapshot) and what.tid > z64 for what in before)
    return started and not (news and isinstance(news[-1], InvalidatedAll))


def known(model: Model, event: Event) -> bytes:
    """Return the last transaction that the client knows of before an event."""
    return max(
        [
            earlier.what.tid
            for earlier in of(model, Snapshot, Invalidated, Noted)
            if earlier.client == event.client and earlier.ended < event.began
        ],
        default=z64,
    )


Draw = Callable[[Any], Any]


def pick(draw: Draw, events: list[Any]) -> Any:
    assume(events)
    return draw(st.sampled_from(events))


def other_data(model: Model, draw: Draw) -> None:
    event = pick(draw, [event for event in of(model, Read) if event.what.serial])
    replaced(model, event, data=b"nonsense")


def other_serial(model: Model, draw: Draw) -> None:
    """An older revision of the object, of a read whose result is certain; or one of nothing."""
    event = pick(
        draw,
        [
            event
            for event in of(model, Read)
            if event.what.serial and event.what.before <= p64(_number(known(model, event)) + 1)
        ],
    )
    serial = pick(draw, [t.tid for t in model.transactions if t.tid != event.what.serial])
    data, _, _ = model.revision(event.what.oid, p64(_number(serial) + 1))
    replaced(model, event, serial=serial, data=data)


def other_end(model: Model, draw: Draw) -> None:
    event = pick(draw, [event for event in of(model, Read) if event.what.serial])
    replaced(model, event, end=p64(_number(event.what.end or event.what.serial) + 1))


def no_end(model: Model, draw: Draw) -> None:
    event = pick(
        draw,
        [e for e in of(model, Read) if e.what.end and e.what.end <= known(model, e)],
    )
    replaced(model, event, end=None)


def nothing_read(model: Model, draw: Draw) -> None:
    event = pick(
        draw,
        [
            event
            for event in of(model, Read)
            if event.what.serial and event.what.before <= p64(_number(known(model, event)) + 1)
        ],
    )
    replaced(model, event, serial=None, data=None, end=None)


def oid_not_told(model: Model, draw: Draw) -> None:
    told = [event for event in of(model, Invalidated) if needed(model, event)]
    event = pick(draw, told)
    oid = pick(draw, list(event.what.oids))
    replaced(model, event, oids=tuple(other for other in event.what.oids if other != oid))


def nothing_told(model: Model, draw: Draw) -> None:
    """An invalidation is lost, and the client goes on."""
    told = [event for event in of(model, Invalidated) if needed(model, event)]
    event = pick(draw, told)
    events = model.history.events
    events[events.index(event)] = event._replace(what=Snapshot(event.what.tid))


def lost_commit(model: Model, draw: Draw) -> None:
    assume(model.transactions)
    del model.transactions[draw(st.integers(0, len(model.transactions) - 1))]


def doubled_commit(model: Model, draw: Draw) -> None:
    assume(model.transactions)
    again = draw(st.sampled_from(model.transactions))._replace(tid=p64(1 + _number(model.last)))
    model.transactions.append(again)


def denied_commit(model: Model, draw: Draw) -> None:
    """The client has never called ``tpc_finish``, and yet it is there."""
    finishing = pick(draw, of(model, Finishing))
    about = [e for e in of(model, Finished) if e.what.mark == finishing.what.mark]
    for event in [finishing, *about]:
        model.history.events.remove(event)


def other_data_stored(model: Model, draw: Draw) -> None:
    replaced(model, pick(draw, of(model, Stored)), data=b"nonsense")


def snapshot_gone_back(model: Model, draw: Draw) -> None:
    event = pick(draw, [event for event in of(model, Snapshot) if event.what.tid > z64])
    tids = [z64, *(transaction.tid for transaction in model.transactions)]
    earlier = tids[: bisect_left(tids, event.what.tid)]
    model.add(event.client, Snapshot(draw(st.sampled_from(earlier))))


def own_commit_not_seen(model: Model, draw: Draw) -> None:
    event = pick(draw, of(model, Finished))
    model.add(event.client, Snapshot(p64(_number(event.what.tid) - 10)))


CORRUPTIONS = [
    other_data,
    other_serial,
    other_end,
    no_end,
    nothing_read,
    oid_not_told,
    nothing_told,
    lost_commit,
    doubled_commit,
    denied_commit,
    other_data_stored,
    snapshot_gone_back,
    own_commit_not_seen,
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS)
@settings(suppress_health_check=[HealthCheck.filter_too_much], deadline=None, max_examples=40)
@given(models(), st.data())
def test_any_corruption_is_found(corrupt: Any, model: Model, data: st.DataObject) -> None:
    corrupt(model, data.draw)
    assert check(model.history, model.transactions) != []


def _number(tid: bytes) -> int:
    return int.from_bytes(tid, "big")
