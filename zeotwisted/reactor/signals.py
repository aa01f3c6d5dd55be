"""What the daemon does when it is sent a signal.

Twisted's reactor has SIGINT and SIGTERM. The others would end the process and leave its storages
open, although tools that rotate logs send them to any daemon.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

__all__ = ["handle_signals"]

#: The signals at which files are opened anew.
_REOPEN = (signal.SIGHUP, signal.SIGUSR2)


def handle_signals(reactor: Any, reopen: Sequence[Callable[[], bool]]) -> None:
    """Take over SIGHUP, SIGUSR1 and SIGUSR2 when the reactor runs in the main thread.

    A signal for which there is a handler already is left to it.

    :param reopen: what to do at SIGHUP and SIGUSR2, in the reactor's thread. Each function returns
        whether there was something to open anew.
    """
    log = Logger()

    def open_anew(name: str) -> None:
        # All of them, whatever the first one returns.
        if any([function() for function in reopen]):
            log.info("{name}: log files are opened anew", name=name)
        else:
            log.info("{name}: there are no log files to open anew", name=name)

    def ignore(name: str) -> None:
        log.info("{name}: this signal means nothing to the daemon", name=name)

    def take(number: signal.Signals, act: Callable[[str], None]) -> None:
        # nohup has SIGHUP ignored.
        if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, lambda *_: reactor.callFromThread(act, number.name))

    def take_all() -> None:
        if threading.current_thread() is threading.main_thread():
            for number in _REOPEN:
                take(number, open_anew)
            take(signal.SIGUSR1, ignore)

    reactor.callWhenRunning(take_all)
