"""Each rule: a history that breaks just this one is reported, a right one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ZODB.utils import maxtid, p64, z64

from .case import Case
from .checker import RULES, Violation, check
from .database import Transaction
from .history import (
    Cached,
    Checked,
    Event,
    Failed,
    Finished,
    Finishing,
    Invalidated,
    InvalidatedAll,
    Noted,
    Read,
    ReadSerial,
    Snapshot,
    Stored,
    Undone,
    Voted,
    digest,
)
from .model import Model

A, B, C = p64(1), p64(2), p64(3)


def scene() -> Model:
    """Two clients, each of which has committed, read and heard of the other."""
    model = Model()
    model.commit("ann", {A: b"1", B: b"1"})
    for client in ("ann", "bob"):
        model.hear(client)
        model.begin(client)
        model.read(client, A)
    model.commit("bob", {A: b"2"})
    model.commit("bob", {B: b"2", C: b"2"})
    model.begin("bob")
    model.hear("ann")
    model.begin("ann")
    for oid in (A, B, C):
        model.read("ann", oid)
        model.read("bob", oid, p64(15))
    model.read("ann", A, maxtid)
    model.add("ann", ReadSerial(A, p64(10), digest(b"1")))
    return model


def violations(model: Model) -> list[Violation]:
    return check(model.history, model.transactions)


def replace(model: Model, kind: type, number: int, **fields: Any) -> Event:
    """Change a field of the event of this kind with this number."""
    events = model.history.events
    index = [i for i, event in enumerate(events) if isinstance(event.what, kind)][number]
    what: Any = events[index].what
    events[index] = events[index]._replace(what=what._replace(**fields))
    return events[index]


def remove(model: Model, kind: type, number: int) -> None:
    del model.history.events[
        [i for i, e in enumerate(model.history.events) if isinstance(e.what, kind)][number]
    ]


def test_a_right_history_is_right() -> None:
    assert violations(scene()) == []


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN.values()} == RULES.keys()


def forget_the_mark(model: Model) -> None:
    model.transactions[0] = model.transactions[0]._replace(description=b"")


def another_tid(model: Model) -> None:
    """The database has the last commit under another tid than was reported."""
    replace(model, Finished, -1, tid=p64(20))
    replace(model, Noted, -1, tid=p64(20))
    remove(model, Snapshot, 2)
    model.add("bob", Invalidated(p64(30), (B, C)))


def gone_back(model: Model) -> None:
    model.begin("ann")
    model.add("ann", Snapshot(p64(20)))


def commit_twice(model: Model) -> None:
    """A transaction that is not the last one of its objects, so that no read is wrong."""
    model.transactions.insert(0, model.transactions[-1]._replace(tid=p64(5), records={}))


def in_doubt_twice(model: Model) -> None:
    remove(model, Finished, -1)
    commit_twice(model)


def with_outcome(failed: Failed | None, *, finishing: bool = True) -> Callable[[Model], Any]:
    """The last commit, which the database has, ended in another way."""

    def change(model: Model) -> None:
        mark = replace(model, Finished, -1).what.mark  # type: ignore[union-attr]
        remove(model, Finished, -1)
        if not finishing:
            remove(model, Finishing, -1)
        if failed is not None:
            model.add("bob", failed._replace(mark=mark))

    return change


def change_of_a_check(model: Model) -> None:
    mark = replace(model, Finished, -1).what.mark  # type: ignore[union-attr]
    model.add("bob", Checked(mark, A, p64(10)))


def told_too_early(model: Model) -> None:
    remove(model, Invalidated, -2)
    replace(model, Invalidated, -1, tid=p64(20))


def cached(**wrong: Any) -> Callable[[Model], Any]:
    """Ann's cache has a wrong revision of an object; it is right but for some fields."""
    right = Cached(last=p64(30), oid=A, serial=p64(10), end=p64(20), data=digest(b"1"))
    return lambda model: model.add("ann", right._replace(**wrong))


def test_a_cache_may_know_less_than_the_database() -> None:
    model = scene()
    cached(last=p64(15), end=None)(model)
    cached()(model)
    assert violations(model) == []


def test_the_outcome_of_an_own_commit_may_be_found_late() -> None:
    model = scene()
    mark = replace(model, Noted, 0).what.mark  # type: ignore[union-attr]
    remove(model, Finished, 0)
    remove(model, Noted, 0)
    remove(model, Snapshot, 0)
    model.add("ann", Invalidated(p64(10), (A, B)))
    model.add("ann", Noted(mark, p64(10)))
    assert {violation.rule for violation in violations(model)} <= {"invalidations"}


#: What is done to the scene, and which rule is broken then.
BROKEN: dict[str, tuple[str, Callable[[Model], Any]]] = {
    "old revision": (
        "reads",
        lambda m: replace(m, Read, 2, data=digest(b"1"), serial=p64(10), end=None),
    ),
    "new revision": ("reads", lambda m: replace(m, Read, 3, data=digest(b"2"), serial=p64(20))),
    "other data": ("reads", lambda m: replace(m, Read, 2, data=digest(b"3"))),
    "a revision that is not there": ("reads", lambda m: replace(m, Read, 2, serial=p64(19))),
    "nothing": ("reads", lambda m: replace(m, Read, 2, data=None, serial=None)),
    "something where nothing is": (
        "reads",
        lambda m: replace(m, Read, 7, data=digest(b"2"), serial=p64(30)),
    ),
    "an end too early": ("reads", lambda m: replace(m, Read, 3, end=p64(15))),
    "an end too late": ("reads", lambda m: replace(m, Read, 3, end=p64(30))),
    "an end of the current revision": ("reads", lambda m: replace(m, Read, 2, end=p64(40))),
    "no end of an old revision": ("reads", lambda m: replace(m, Read, 3, end=None)),
    "old revision as the current one": (
        "reads",
        lambda m: replace(m, Read, -1, data=digest(b"1"), serial=p64(10)),
    ),
    "known to have changed": (
        "reads",
        lambda m: m.add("eve", Read(A, maxtid, digest(b"1"), p64(10), p64(20))),
    ),
    "other data of a serial": ("reads", lambda m: replace(m, ReadSerial, 0, data=digest(b"2"))),
    "a serial that is not there": ("reads", lambda m: replace(m, ReadSerial, 0, serial=p64(11))),
    "a snapshot gone back": ("snapshots", gone_back),
    "a snapshot of nothing": ("snapshots", lambda m: m.add("ann", Snapshot(p64(31)))),
    "a snapshot without an own commit": (
        "own commits",
        lambda m: replace(m, Snapshot, 2, tid=p64(20)),
    ),
    "a database that was told nothing of an own commit": (
        "own commits",
        lambda m: remove(m, Noted, 0),
    ),
    "a commit with another tid": ("outcomes", another_tid),
    "a commit that is lost": ("outcomes", forget_the_mark),
    "a commit that is there twice": ("outcomes", commit_twice),
    "a commit in doubt that is there twice": ("outcomes", in_doubt_twice),
    "a commit that was denied": ("outcomes", with_outcome(Failed("", "error", True))),
    "a commit that was never finished": ("outcomes", with_outcome(None, finishing=False)),
    "other data stored": ("contents", lambda m: replace(m, Stored, 0, data=digest(b"3"))),
    "an object that was not stored": ("contents", lambda m: remove(m, Stored, -1)),
    "an object that is missing": ("contents", lambda m: replace(m, Stored, -1, oid=p64(9))),
    "an update of an old revision": (
        "lost updates",
        lambda m: replace(m, Stored, 2, serial=p64(5)),
    ),
    "a check of an old revision": ("lost updates", change_of_a_check),
    "an object of which nothing was told": (
        "invalidations",
        lambda m: replace(m, Invalidated, -1, oids=(B,)),
    ),
    "a transaction of which nothing was told": (
        "invalidations",
        lambda m: remove(m, Invalidated, -2),
    ),
    "an invalidation with an earlier tid": ("invalidations", told_too_early),
    "an invalidation with a tid of nothing": (
        "invalidations",
        lambda m: m.add("ann", Invalidated(p64(31), ())),
    ),
    "told twice": ("order", lambda m: m.add("ann", Invalidated(p64(30), (B, C)))),
    "told of an own commit": ("order", lambda m: m.add("bob", Invalidated(p64(30), (B, C)))),
    "told in another order": ("order", lambda m: m.add("ann", Invalidated(p64(20), (A,)))),
    "a snapshot without what was told": (
        "news",
        lambda m: replace(m, Snapshot, -1, tid=p64(20)),
    ),
    "cached from nowhere": ("caches", cached(serial=p64(11))),
    "cached with other data": ("caches", cached(data=digest(b"2"))),
    "cached as the current one": ("caches", cached(end=None)),
    "cached for too long": ("caches", cached(end=p64(30))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_reported_and_no_other(name: str) -> None:
    rule, change = BROKEN[name]
    model = scene()
    change(model)
    found = violations(model)
    assert {violation.rule for violation in found} == {rule}, "\n".join(map(str, found))
    for violation in found:
        # One line that names the events.
        assert "\n" not in str(violation)
        assert violation.events
        assert f"{violation.events[-1].client}:{violation.events[-1].ended}" in str(violation)


def test_a_commit_in_doubt_may_be_there_or_not() -> None:
    model = scene()
    with_outcome(Failed("", "error", False))(model)
    assert violations(model) == []
    model.add("bob", Finishing("bob 99"))
    model.add("bob", Failed("bob 99", "error", False))
    assert violations(model) == []


def test_a_commit_that_was_denied_or_not_finished_is_not_there() -> None:
    model = scene()
    model.add("bob", Stored("bob 98", A, p64(20), digest(b"3")))
    model.add("bob", Finishing("bob 99"))
    model.add("bob", Failed("bob 99", "error", True))
    assert violations(model) == []


def test_an_empty_commit_leaves_no_transaction() -> None:
    model = scene()
    for what in (Voted("bob 99", ()), Finishing("bob 99"), Noted("bob 99", p64(35))):
        model.add("bob", what)
    model.add("bob", Finished("bob 99", p64(35)))
    model.add("bob", Snapshot(p64(35)))
    assert violations(model) == []


def test_calls_that_overlap_may_have_been_in_any_order() -> None:
    model = scene()
    events = model.history.events
    began = model.history.now()
    model.commit("bob", {A: b"4"})
    model.hear("ann")
    model.begin("ann")
    # Both began before the others, and only ended after them.
    events.append(Event("ann", began, model.history.now(), Snapshot(p64(30))))
    events.append(
        Event("ann", began, model.history.now(), Read(A, maxtid, digest(b"2"), p64(20), None))
    )
    assert violations(model) == []


def test_a_read_may_see_more_than_the_client_has_heard_of() -> None:
    model = scene()
    model.commit("bob", {A: b"4"})
    model.read("ann", A, maxtid)
    assert violations(model) == []


def test_an_object_that_was_deleted_is_not_there() -> None:
    model = scene()
    model.commit("bob", {A: None})
    model.read("bob", A)
    # Nobody has told this client yet.
    model.read("ann", A, maxtid)
    model.read("bob", A, p64(40))
    assert violations(model) == []


def test_resolved_conflicts_change_data_and_serials() -> None:
    model = scene()
    replace(model, Stored, 2, serial=p64(5), data=digest(b"3"))
    replace(model, Voted, 1, resolved=(A,))
    assert violations(model) == []


def test_undo_changes_objects_that_were_not_stored() -> None:
    model = scene()
    mark = replace(model, Stored, -1).what.mark  # type: ignore[union-attr]
    remove(model, Stored, -1)
    model.add("bob", Undone(mark, p64(10)))
    assert violations(model) == []


def test_verification_tells_of_several_transactions_at_once() -> None:
    model = scene()
    model.commit("bob", {A: b"4"})
    model.commit("bob", {A: b"5", B: b"5"})
    model.verify("ann")
    model.begin("ann")
    assert violations(model) == []
    # More than that is allowed, less is not.
    replace(model, Invalidated, -1, oids=(A, B, C))
    assert violations(model) == []
    replace(model, Invalidated, -1, oids=(A,))
    assert [violation.rule for violation in violations(model)] == ["invalidations"]


def test_everything_covers_what_was_before_the_next_invalidation() -> None:
    model = scene()
    model.commit("bob", {A: b"4"})
    model.forget("ann")
    model.begin("ann")
    model.commit("bob", {A: b"5"})
    model.hear("ann")
    model.begin("ann")
    assert violations(model) == []
    replace(model, Invalidated, -1, oids=(B,))
    assert [violation.rule for violation in violations(model)] == ["invalidations"]
    remove(model, InvalidatedAll, 0)
    assert len(violations(model)) == 2


def test_a_new_client_needs_not_be_told_of_what_was_before() -> None:
    model = scene()
    model.add("eve", Snapshot(z64))
    model.verify("eve")
    remove(model, Invalidated, -1)
    model.begin("eve")
    model.read("eve", A)
    assert violations(model) == []


def test_transactions_of_unknown_programs_are_allowed() -> None:
    model = scene()
    model.transactions.append(Transaction(p64(40), b"", {A: b"7"}))
    model.hear("ann")
    model.begin("ann")
    model.read("ann", A)
    assert violations(model) == []


def test_a_program_may_add_a_rule() -> None:
    def sums(case: Case) -> Any:
        total = sum(len(transaction.records) for transaction in case.database.transactions)
        if total != 4:
            yield f"the sum is {total}", ()

    model = scene()
    found = check(model.history, model.transactions, {**RULES, "sum": sums})
    assert [str(violation) for violation in found] == ["sum: the sum is 5 (events )"]
