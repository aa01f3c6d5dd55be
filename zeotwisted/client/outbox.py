"""Everything that is sent to the server, in one order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

__all__ = ["Outbox"]

#: How many bytes may be held back before they are sent anyhow.
_HELD_BACK = 65536


class Outbox:
    """A queue of frames, filled by any thread and emptied by the reactor's.

    :param write: writes a list of frames; called in the reactor's thread.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any.
    :param is_reactor_thread: whether the caller is the reactor's thread.
    """

    def __init__(
        self,
        write: Callable[[list[bytes]], Any],
        call_from_thread: Callable[..., Any],
        is_reactor_thread: Callable[[], bool],
    ) -> None:
        self._write = write
        self._call_from_thread = call_from_thread
        self._is_reactor_thread = is_reactor_thread
        self._lock = Lock()
        self._frames: list[bytes] = []
        self._size = 0
        self._woken = False

    def append(self, frame: bytes, hold_back: bool = False) -> None:
        """Add a frame.

        :param hold_back: something follows soon, and they may leave together.
        """
        with self._lock:
            self._frames.append(frame)
            self._size += len(frame)
            if self._woken or (hold_back and self._size < _HELD_BACK):
                return
            self._woken = True
        if self._is_reactor_thread():
            self.flush()
        else:
            self._call_from_thread(self.flush)

    def flush(self) -> None:
        """Write what there is; in the reactor's thread only."""
        with self._lock:
            frames, self._frames = self._frames, []
            self._size = 0
            self._woken = False
        if frames:
            self._write(frames)
