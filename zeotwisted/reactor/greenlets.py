"""Libraries that replace threads by greenlets.

gevent does it thoroughly: its locks, its poll and its sockets let other greenlets run while one of
them waits. So a reactor in a greenlet and blocking calls in others go together, as long as all of
them use gevent's: nothing of ours, and no reactor of Twisted's, may have been imported before it
has replaced them. A lock of the operating system would stop all greenlets, among them the one that
would open it.
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


#: Whether they were when our modules took their locks from `threading`.
_AT_IMPORT = are_threads()


def check() -> None:
    """Check that a reactor in what passes for a thread here would work.

    :raises ClientStorageError: it would not, and what to do about it.
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
