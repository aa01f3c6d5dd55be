"""One connection's calls: sent in order, and answered to the threads and Deferreds that wait.

`protocol` is the Twisted protocol; `outbox` keeps the order of what is sent; `calls` has the calls
that wait, `waiter` the thread that waits for one; `leading` and `reading` let such a thread read.
Rule: a message is dealt with completely before the next one, whichever thread reads it.
"""

from __future__ import annotations

from .dropped import DroppedIterators
from .protocol import ClientProtocol, Push
from .waiter import Waiter

__all__ = [
    "ClientProtocol",
    "DroppedIterators",
    "Push",
    "Waiter",
]
