"""The statements of a commit, and what happens at each of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, NamedTuple, TypeVar

from zeotwisted.postgresql import connect

from .cluster import TIMEOUT
from .interceptor import Interceptor, When

__all__ = ["BLOB", "FINISH", "MARK", "NEWS", "STORE", "VOTE", "Step", "happening"]

T = TypeVar("T")


class Step(NamedTuple):
    """A statement.

    :ivar text: is in it.
    :ivar lock: takes a lock for which the statement has to wait.
    """

    text: str
    lock: str = ""


STORE = Step("COPY temp_store")
#: What is in the blob has been sent before.
BLOB = Step("INSERT INTO temp_blob_chunk")
VOTE = Step("lock_objects_and_detect_conflicts", "SELECT pg_advisory_xact_lock(0)")
MARK = Step("INSERT INTO zeotwisted_commit", "LOCK TABLE zeotwisted_commit IN EXCLUSIVE MODE")
FINISH = Step("lock_and_choose_tid_and_move", "SELECT pg_advisory_xact_lock(-1)")
#: Asks what was committed.
NEWS = Step("string_agg(int8send(news.zoid)")


def happening(
    interceptor: Interceptor,
    step: Step,
    when: When,
    dsn: str,
    commit: Callable[[], T],
    do: Callable[[int], object] | None = None,
    meanwhile: Callable[[Future[T]], object] = lambda told: None,
) -> T:
    """Commit, with something that happens at a step of that; return what `commit` returns.

    :param dsn: the database, not through the interceptor.
    :param do: what happens; see `Interceptor.set`.
    :param meanwhile: is called when it has happened, and before the lock is free.
    """
    trap = interceptor.set(step.text, when, do)
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as held:
            if when is When.WITHIN:
                holder: Any = held.enter_context(closing(connect(dsn)))
                held.enter_context(holder.transaction())
                holder.execute(step.lock)
            told = pool.submit(commit)
            assert trap.sprung.wait(TIMEOUT), step
            meanwhile(told)
        return told.result()
