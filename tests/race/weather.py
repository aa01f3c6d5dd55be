"""A bad network between clients and a server."""

from __future__ import annotations

import random
import socket
import struct
import threading
from contextlib import suppress

#: The longest time (seconds) for which something is held up on its way.
_LONGEST_DELAY = 0.005

#: Closing such a socket resets the connection.
_RESET = struct.pack("ii", 1, 0)


class Weather:
    """Passes bytes on in pieces of any size, some of them late, and breaks connections.

    :param target: where the server is.
    :param drops: how many seconds, on average, pass between two times when all connections are
        broken: some are ended, some are reset.
    :ivar address: where clients have to connect to.
    :ivar broken: how many connections were broken.
    """

    def __init__(self, target: tuple[str, int], drops: float, seed: int = 0) -> None:
        self.broken = 0
        self._target = target
        self._drops = drops
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._breaker = threading.Thread(target=self._break, daemon=True)
        self._breaker.start()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        # Ends when the listener is closed.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._ends |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        dice = random.Random(self._random.random())
        with suppress(OSError):
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(65536):
                for piece in _pieces(data, dice):
                    if not dice.randrange(10):
                        self._over.wait(dice.uniform(0, _LONGEST_DELAY))
                    sink.sendall(piece)
        with self._lock, suppress(OSError):
            # One that is being broken may have to be reset.
            if sink in self._ends:
                sink.shutdown(socket.SHUT_RDWR)

    def _break(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._drops)):
            self._break_all()

    def _break_all(self) -> None:
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                if self._random.randrange(2):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    # The system closes it only when nobody waits for it any more.
                    end.shutdown(socket.SHUT_RD)
                else:
                    end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.broken += len(ends) // 2

    def end(self) -> None:
        """Let nothing through any more."""
        self._over.set()
        self._breaker.join()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break_all()


def _pieces(data: bytes, dice: random.Random) -> list[bytes]:
    if dice.randrange(4):
        return [data]
    cuts = sorted({dice.randrange(len(data) + 1) for _ in range(3)})
    return [
        data[begin:end]
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
        if begin < end
    ]
