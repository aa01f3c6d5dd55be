"""Threads that read the answers that they wait for.

One of the threads that wait *leads*: it reads messages and gives each answer to its thread, until
its own answer is there. The others *follow*: they sleep until their answer has been read, or until
it is their turn to lead. Any message that is not an answer for a thread is left to the reactor,
with all messages behind it. No thread reads on before the reactor has processed them.

If `reading` is None, the reactor reads for all threads. The tests compare both ways.
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
from .traffic import Traffic
from .waiter import Waiter

__all__ = ["INTERRUPTED", "Leading"]

#: Handed to the reactor when a thread was interrupted, and it is unknown which messages it has
#: processed. It is recognised by its identity.
INTERRUPTED: Iterable[Event] = iter(())


class Leading:
    """The state that the threads waiting on one connection share.

    `hand_over`, `info` and `give_up` may be called in any thread.

    :param reading: None if only the reactor reads.
    :param hand_over: makes the reactor process events, and then call `Reading.end`.
    :param info: receives new facts about the storage.
    :param give_up: closes the connection.
    :param traffic: counts what is read.
    :ivar turn: held while a thread processes what it has read. Without it, the connection could be
        lost and another one verified meanwhile, and the thread would store an old answer.
    :ivar dealing: the thread that processes an answer. It would deadlock if it waited for another.
    :ivar silence: records that the server has sent something.
    """

    def __init__(
        self,
        session: Session,
        calls: Calls,
        reading: Reading | None,
        hand_over: Callable[[Reading, Iterable[Event]], object],
        info: Callable[[str, tuple[Any, ...]], object],
        give_up: Callable[[], object],
        traffic: Traffic,
    ) -> None:
        self._session = session
        self._calls = calls
        self._reading = reading
        self._traffic = traffic
        self._hand_over = hand_over
        self._info = info
        self._give_up = give_up
        self.turn = threading.Lock()
        self.dealing: int | None = None
        self.silence: Silence | None = None
        # The waiters of the threads that sleep, oldest first. The lock guards them.
        self._followers: dict[Waiter, None] = {}
        self._lock = threading.Lock()

    def wait(self, waiter: Waiter) -> Any:
        """Wait for an answer; return it, or raise it if it is an exception."""
        reading = self._reading
        if reading is not None:
            # After an error the reactor reads, finds the cause, and fails the calls.
            going_well = True
            try:
                while going_well and not waiter.done:
                    waiter.certain = False
                    if reading.begin() or self._follow(reading, waiter):
                        going_well = self._lead(reading, waiter)
            except BaseException:
                # Ctrl-C while this thread began or ended to lead: perhaps no thread reads now, and
                # the others would wait for ever.
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
            # The connection was lost after this thread was chosen.
            self._pass_on(reading)
        return not waiter.done

    def _is_chosen(self, waiter: Waiter) -> bool:
        """Remove `waiter` from the followers; return True if it was chosen to lead."""
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
        """Read until `waiter` has its answer; return False if the socket has failed."""
        rest: Iterable[Event] | None = None
        going_well = True
        try:
            while rest is None and not waiter.done:
                if not reading.wait():
                    going_well = False
                    break
                # Ctrl-C may come in the next line. Then it is unknown what was processed.
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
        """Process what has arrived; return the messages for the reactor, or None."""
        with self.turn:
            calls = self._calls
            if not calls.is_open:
                return None
            if self.silence is not None:
                self.silence.heard = True
            data = reading.receive()
            self._traffic.bytes_received += len(data)
            answer = self._session.answer(data)
            if answer is not None:
                # The fast path: the data is one answer and nothing else.
                waiter = calls.get(answer[0])
                if type(waiter) is Waiter and waiter.anywhere:
                    waiter.callback(answer[1])
                    calls.take(answer[0])
                    return self._nothing_left()
            return self._deal_with(self._session.receive(data), own)

    def _deal_with(self, events: Iterator[Event], own: Waiter) -> Iterable[Event] | None:
        """Give answers to their threads; return the other messages, from the first one on."""
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
                    # Not earlier: after Ctrl-C the call would not fail with the connection, and the
                    # thread would wait for ever.
                    self._calls.take(event.id)  # type: ignore[union-attr]
                elif type(event) is Called and event.call.name == "info" and not event.error:
                    self._info("info", event.args)
                else:
                    return itertools.chain((event,), events)
        except Exception as error:
            return _raising(error)
        return self._nothing_left()

    def _nothing_left(self) -> Iterable[Event] | None:
        """Return None, or no messages if the reactor has to check whether all calls are done."""
        return iter(()) if self._calls.watched else None

    def abandon(self) -> None:
        """After fork: replace the locks; the threads that held them do not exist in the child."""
        self.turn = threading.Lock()
        self._lock = threading.Lock()
        self._followers.clear()


def _raising(error: Exception) -> Iterator[Event]:
    """Return an iterator that raises `error`, so that the reactor handles it."""
    raise error
    yield
