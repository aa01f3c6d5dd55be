"""The calls of one connection, and the threads and Deferreds that wait for their answers.

`protocol` is the Twisted protocol. `outbox` sends frames in order. `calls` has the calls without an
answer. A thread waits in a `waiter`. `leading` and `reading` let a thread that waits read from the
socket itself. `traffic` counts what goes over the connection.
Rule: a message is processed completely before the next one, whichever thread reads it.
"""

from __future__ import annotations

from .dropped import DroppedIterators
from .protocol import ClientProtocol, Push
from .traffic import Traffic
from .waiter import Answer, Waiter

__all__ = [
    "Answer",
    "ClientProtocol",
    "DroppedIterators",
    "Push",
    "Traffic",
    "Waiter",
]
