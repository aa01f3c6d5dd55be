"""A proxy that knows frames, and cuts a connection at one of them."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from zeotwisted.protocol.codecs import CODECS

__all__ = ["Cutter"]

#: The messages of a commit, as the proxy sees them: what the client calls, and what is answered.
_STEPS = ("tpc_begin", "storea", "vote", "tpc_finish", "answer to vote", "answer to tpc_finish")

#: What may be done at one of them. ``late`` ends the client's side, and passes the frame on to the
#: server only then; the server's end stays open for a while.
_WAYS = ("before", "after", "inside", "late")


class Cutter:
    """The proxy.

    :param chance: where to cut.
    :param cuts: whether it needs to know frames at all.
    :ivar address: where clients connect to.
    """

    def __init__(self, target: tuple[str, int], chance: random.Random, cuts: bool) -> None:
        self._target = target
        self._chance = chance
        self._cuts = cuts
        self._plan: tuple[str, str] | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, times: int) -> None:
        """Cut that many connections, one after the other."""
        for _ in range(times):
            self._done.clear()
            with self._lock:
                self._plan = self._chance.choice(_STEPS), self._chance.choice(_WAYS)
            if not self._done.wait(60):
                raise RuntimeError(f"nobody got to {self._plan}")

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def planned(self, step: str) -> str | None:
        """Return what is to be done now at this step, and do not plan it for anybody else."""
        with self._lock:
            if self._plan is None or self._plan[0] != step:
                return None
            way, self._plan = self._plan[1], None
        return way

    def done(self) -> None:
        """What was planned is done."""
        self._done.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Link(self, client, server, self._cuts).start()


class _Link:
    """One connection through the proxy."""

    def __init__(
        self, cutter: Cutter, client: socket.socket, server: socket.socket, cuts: bool
    ) -> None:
        self._cutter = cutter
        self._client = client
        self._server = server
        self._pass = self._frames if cuts else self._bytes
        self._codec: Any = None
        # The calls that are waiting for an answer.
        self._asked: dict[Any, str] = {}

    def start(self) -> None:
        for source, target in (
            (self._client, self._server),
            (self._server, self._client),
        ):
            threading.Thread(target=self._run, args=(source, target), daemon=True).start()

    def _run(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            self._pass(source, target)
        for end in (source, target):
            _end(end)

    def _bytes(self, source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            target.sendall(data)

    def _frames(self, source: socket.socket, target: socket.socket) -> None:
        stream = source.makefile("rb")
        # The first frame of each side is part of the handshake.
        first = True
        while (head := stream.read(4)) and len(head) == 4:
            frame = stream.read(int.from_bytes(head, "big"))
            step = None if first else self._step(frame, source)
            if first and source is self._client:
                self._codec = CODECS[frame[:1]]
            first = False
            way = self._cutter.planned(step) if step else None
            if way is None:
                target.sendall(head + frame)
                continue
            try:
                self._cut(way, target, head + frame)
            finally:
                self._cutter.done()
            return

    def _step(self, frame: bytes, source: socket.socket) -> str | None:
        id, _, name, _ = self._codec.decode(frame)
        if source is self._client:
            if name in ("vote", "tpc_finish"):
                self._asked[id] = name
            return str(name)
        if name == ".reply" and id in self._asked:
            return f"answer to {self._asked.pop(id)}"
        return None

    def _cut(self, way: str, target: socket.socket, data: bytes) -> None:
        if way == "inside":
            target.sendall(data[: len(data) // 2])
        elif way == "after":
            target.sendall(data)
        elif way == "late":
            _end(self._client)
            # The client is on its way back now, or has begun to ask.
            time.sleep(random.uniform(0.0, 0.3))
            with suppress(OSError):
                self._server.sendall(data)
            time.sleep(random.uniform(0.0, 0.1))


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
