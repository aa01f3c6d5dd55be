"""Handlers of signals for the daemon.

Without a handler, SIGHUP, SIGUSR1 and SIGUSR2 end the process, and its storages are not closed.
Tools that rotate logs send these signals to any daemon. SIGTERM and SIGINT stop Twisted's reactor,
but the process then ends by the signal, and supervisors take that for a failure.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

__all__ = ["handle_signals", "stop_with_success"]

#: The signals that reopen the log files.
_REOPEN = (signal.SIGHUP, signal.SIGUSR2)


def handle_signals(reactor: Any, reopen: Sequence[Callable[[], bool]]) -> None:
    """Handle SIGHUP, SIGUSR1 and SIGUSR2, if the reactor runs in the main thread.

    A signal that has a handler already keeps it.

    :param reopen: functions to call in the reactor's thread at SIGHUP and SIGUSR2. Each returns
        whether it had a file to reopen.
    """
    log = Logger()

    def open_anew(name: str) -> None:
        # A list, because `any` stops a generator at the first function that returns True.
        if any([function() for function in reopen]):
            log.info("{name}: log files are opened anew", name=name)
        else:
            log.info("{name}: there are no log files to open anew", name=name)

    def ignore(name: str) -> None:
        log.info("{name}: this signal means nothing to the daemon", name=name)

    def take(number: signal.Signals, act: Callable[[str], None]) -> None:
        # Under nohup, SIGHUP is ignored: this is no handler of the application's.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, lambda *_: reactor.callFromThread(act, number.name))

    def take_all() -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _REOPEN:
                take(number, open_anew)
            take(signal.SIGUSR1, ignore)

    reactor.callWhenRunning(take_all)


def stop_with_success(reactor: Any, hurry: Callable[[], object]) -> None:
    """Have the process end with exit code 0 after SIGTERM or SIGINT, if the reactor handles these.

    A handler of the application's is kept.

    :param hurry: called in the reactor's thread for each signal but the first one.
    """
    log = Logger()
    call: Any = reactor.callFromThread
    stopping = False

    def stop(name: str) -> None:
        nonlocal stopping
        if stopping:
            log.info("{name}: the daemon stops already, and does not wait any more", name=name)
            hurry()
            return
        stopping = True
        # The text is that of Twisted's line.
        log.info("Received {name}, shutting down.", name=name)
        reactor.stop()

    def take_both() -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            if getattr(signal.getsignal(number), "__self__", None) is reactor:
                signal.signal(number, lambda number, _: call(stop, signal.Signals(number).name))

    reactor.callWhenRunning(take_both)
