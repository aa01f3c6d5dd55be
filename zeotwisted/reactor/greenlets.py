"""Checks for gevent and eventlet, which replace threads by greenlets.

A reactor in one greenlet works with blocking calls in others, if all of them use gevent's locks,
poll and sockets: these run other greenlets while one waits. So gevent must patch the standard
library before zeotwisted or a Twisted reactor is imported. A lock of the operating system would
block all greenlets, also the one that releases the lock.
"""

from __future__ import annotations

import select
import sys
from importlib import import_module

from zeotwisted.exceptions import ClientStorageError

__all__ = ["are_threads", "check"]


def are_threads() -> bool:
    """Whether gevent has made this process's threads greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


#: Whether threads were greenlets when the modules of zeotwisted imported their locks.
_AT_IMPORT = are_threads()


def check() -> None:
    """Check that a private reactor can run in a thread, or a greenlet, of this process.

    :raises ClientStorageError: it cannot; the message says what to change.
    """
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise ClientStorageError(
            "zeotwisted does not work with eventlet's threads; use real ones, or gevent's"
        )
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and are_threads() != monkey.is_object_patched("select", "poll"):
        raise ClientStorageError(
            "gevent has replaced only one of threads and select, and zeotwisted needs both or "
            "neither; call gevent.monkey.patch_all() without exceptions"
        )
    if not are_threads():
        return
    twisted_poll = getattr(import_module("twisted.internet.pollreactor"), "poll")  # noqa: B009
    if not _AT_IMPORT or twisted_poll is not select.poll:
        raise ClientStorageError(
            "gevent has replaced threads too late; call gevent.monkey.patch_all() before "
            "zeotwisted or Twisted is imported"
        )
