"""Threads that read the answers that they wait for.

One of the threads that wait *leads*: it reads what comes, and gives the answers to those that they
are for, until its own is there. The others *follow*: they sleep until their answer has been read,
or until they are to lead in their turn. What is not an answer for a thread is the reactor's to deal
with, and all that comes behind it; nobody reads on before it has.

Where nobody can lead, the reactor reads for all; that is also what the tests compare this with.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.protocol import Called, Event, Failed, Replied, Session
from zeotwisted.transport import Silence

from .calls import Calls
from .reading import Reading
from .waiter import Waiter

__all__ = ["INTERRUPTED", "Leading"]

#: What remains to be dealt with when nobody knows. It is recognised by its identity.
INTERRUPTED: Iterable[Event] = iter(())


class Leading:
    """What the threads that wait for one connection share.

    :param reading: None where only the reactor reads.
    :param hand_over: lets the reactor deal with events, and call `Reading.end` then; in any thread.
    :param info: takes the server's news of itself, in any thread.
    :param give_up: ends the connection; in any thread.
    :ivar turn: is held while a thread deals with what it has read; the connection must not be lost,
        and another one verified, in the midst of that.
    :ivar dealing: the thread that deals with its own answer, which cannot wait for another one.
    :ivar silence: hears that the server is there.
    """

    def __init__(
        self,
        session: Session,
        calls: Calls,
        reading: Reading | None,
        hand_over: Callable[[Reading, Iterable[Event]], object],
        info: Callable[[str, tuple[Any, ...]], object],
        give_up: Callable[[], object],
    ) -> None:
        self._session = session
        self._calls = calls
        self._reading = reading
        self._hand_over = hand_over
        self._info = info
        self._give_up = give_up
        self.turn = threading.Lock()
        self.dealing: int | None = None
        self.silence: Silence | None = None
        # Those that sleep, in the order in which they began to; guarded by the lock.
        self._followers: dict[Waiter, None] = {}
        self._lock = threading.Lock()

    def wait(self, waiter: Waiter) -> Any:
        """Wait for an answer; return it, or raise what it is."""
        reading = self._reading
        if reading is not None:
            # What goes wrong with reading is the reactor's to find out, and to tell.
            going_well = True
            try:
                while going_well and not waiter.done:
                    waiter.certain = False
                    if reading.begin() or self._follow(reading, waiter):
                        going_well = self._lead(reading, waiter)
            except BaseException:
                # Ctrl-C in the midst of beginning or ending: nobody may be reading now.
                if not waiter.certain:
                    self._give_up()
                raise
        return waiter.wait()

    def _follow(self, reading: Reading, waiter: Waiter) -> bool:
        """Sleep until there is an answer, or return True if this thread is to lead."""
        with self._lock:
            self._followers[waiter] = None
        try:
            waiter.sleep()
        except BaseException:
            if self._is_chosen(waiter):
                self._pass_on(reading)
            waiter.certain = True
            raise
        if not self._is_chosen(waiter):
            return False
        if waiter.done:
            # The connection was lost right after that.
            self._pass_on(reading)
        return not waiter.done

    def _is_chosen(self, waiter: Waiter) -> bool:
        """Let `waiter` follow no more; return whether it is to lead."""
        with self._lock:
            if waiter in self._followers:
                del self._followers[waiter]
                return False
            return True

    def _pass_on(self, reading: Reading) -> None:
        """Let another thread lead, or the reactor read."""
        with self._lock:
            for waiter in self._followers:
                if not waiter.done:
                    del self._followers[waiter]
                    waiter.wake()
                    return
        reading.end()

    def _lead(self, reading: Reading, waiter: Waiter) -> bool:
        """Read up to the answer of `waiter`; return whether all went well."""
        rest: Iterable[Event] | None = None
        going_well = True
        try:
            while rest is None and not waiter.done:
                if not reading.wait():
                    going_well = False
                    break
                # Ctrl-C may come at any time, and then nobody knows what was dealt with.
                rest = INTERRUPTED
                rest = self._read_one(reading, waiter)
        finally:
            if rest is not None:
                self._hand_over(reading, rest)
            elif going_well:
                self._pass_on(reading)
            else:
                reading.end()
            waiter.certain = True
        return going_well

    def _read_one(self, reading: Reading, own: Waiter) -> Iterable[Event] | None:
        """Deal with what has come; return what is the reactor's to deal with, from there on."""
        with self.turn:
            calls = self._calls
            if not calls.is_open:
                return None
            if self.silence is not None:
                self.silence.heard = True
            data = reading.receive()
            answer = self._session.answer(data)
            if answer is not None:
                # The fast path: there is nothing but an answer.
                waiter = calls.get(answer[0])
                if type(waiter) is Waiter and waiter.anywhere:
                    waiter.callback(answer[1])
                    calls.take(answer[0])
                    return self._nothing_left()
            return self._deal_with(self._session.receive(data), own)

    def _deal_with(self, events: Iterator[Event], own: Waiter) -> Iterable[Event] | None:
        """Give answers to the threads that wait for them, until there is anything else."""
        try:
            for event in events:
                kind = type(event)
                if kind is Replied or kind is Failed:
                    answer = self._calls.get(event.id)  # type: ignore[union-attr]
                    if answer is None or type(answer) is Deferred:
                        return itertools.chain((event,), events)
                    if type(answer) is Waiter and answer is not own and not answer.anywhere:
                        return itertools.chain((event,), events)
                    self.dealing = threading.get_ident()
                    try:
                        if type(event) is Replied:
                            answer.callback(event.value)
                        else:
                            answer.errback(event.error)  # type: ignore[union-attr, arg-type]
                    finally:
                        self.dealing = None
                    # Not before: after Ctrl-C it would wait for ever.
                    self._calls.take(event.id)  # type: ignore[union-attr]
                elif type(event) is Called and event.call.name == "info" and not event.error:
                    self._info("info", event.args)
                else:
                    return itertools.chain((event,), events)
        except Exception as error:
            return _raising(error)
        return self._nothing_left()

    def _nothing_left(self) -> Iterable[Event] | None:
        """Return None, unless the reactor wants to see whether this was the last answer."""
        return iter(()) if self._calls.watched else None

    def abandon(self) -> None:
        """After fork: the threads that held these locks, or followed, do not exist in the child."""
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._followers.clear()


def _raising(error: Exception) -> Iterator[Event]:
    """Return events that end with an exception."""
    raise error
    yield
