"""The line between clients and a daemon: it delays, keeps the order, and counts."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from benchmarks.relay import Messages

_DELAY = 0.02


def _message(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def _read(stream: Any) -> bytes:
    (size,) = struct.unpack(">I", stream.read(4))
    body: bytes = stream.read(size)
    return body


def _echo(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as stream:
        connection.sendall(_message(b"hello"))
        while header := stream.read(4):
            connection.sendall(header + stream.read(struct.unpack(">I", header)[0]))


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that greets, and then sends back what it is sent."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=_echo, args=(connection,)))
                threads[-1].start()

        server = threading.Thread(target=serve)
        server.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        server.join()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


class Line:
    """A running relay."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.addresses = [tuple(each) for each in json.loads(process.stdout.readline())]

    def report(self) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(".")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    @contextmanager
    def connect(self, lane: int = 0) -> Iterator[tuple[socket.socket, Any]]:
        with (
            socket.create_connection(self.addresses[lane], 10) as client,
            client.makefile("rb") as stream,
        ):
            assert _read(stream) == b"hello"
            yield client, stream


Start = Callable[..., AbstractContextManager[Line]]


@pytest.fixture
def start(echo: tuple[str, int]) -> Start:
    @contextmanager
    def start(delay: float, lanes: int = 1) -> Iterator[Line]:
        host, port = echo
        arguments = [host, str(port), str(delay), str(lanes)]
        command = [sys.executable, "-m", "benchmarks.relay", *arguments]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
            try:
                yield Line(process)
            finally:
                assert process.stdin is not None
                process.stdin.close()
        assert process.returncode == 0

    return start


def test_each_direction_is_delayed(start: Start) -> None:
    with start(_DELAY) as line, line.connect() as (client, stream):
        for number in range(3):
            begun = time.perf_counter()
            client.sendall(_message(b"%d" % number))
            assert _read(stream) == b"%d" % number
            assert time.perf_counter() - begun >= 2 * _DELAY
        assert line.report()["late"]["median"] < _DELAY


def test_what_is_sent_in_a_row_is_under_way_together_and_in_order(start: Start) -> None:
    with start(_DELAY) as line, line.connect() as (client, stream):
        begun = time.perf_counter()
        for number in range(100):
            client.sendall(_message(b"%d" % number))
        assert [_read(stream) for _ in range(100)] == [b"%d" % number for number in range(100)]
        # One after the other would take two hundred times the delay.
        assert time.perf_counter() - begun < 100 * _DELAY


def test_round_trips_are_what_waits_for_what_came(start: Start) -> None:
    with start(0.001) as line, line.connect() as (client, stream):
        for _ in range(5):
            client.sendall(_message(b"one") + _message(b"and one more"))
            _read(stream)
            _read(stream)
        (counts,) = line.report()["connections"]
    assert counts == {
        "lane": 0,
        "sent_bytes": 5 * (4 + 3 + 4 + 12),
        "sent_messages": 10,
        "received_bytes": 4 + 5 + 5 * (4 + 3 + 4 + 12),
        "received_messages": 11,
        "round_trips": 5,
    }


def test_much_at_once(start: Start) -> None:
    body = bytes(range(256)) * 4 * 2**16
    with start(0.005) as line, line.connect() as (client, stream), ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.sendall, _message(body))
        assert _read(stream) == body
        sending.result()


def test_many_connections(start: Start) -> None:
    with start(_DELAY, lanes=2) as line:

        def talk(number: int) -> float:
            with line.connect(number % 2) as (client, stream):
                begun = time.perf_counter()
                for _ in range(3):
                    client.sendall(_message(b"%d" % number))
                    assert _read(stream) == b"%d" % number
                return time.perf_counter() - begun

        with ThreadPoolExecutor(20) as pool:
            assert min(pool.map(talk, range(20))) >= 6 * _DELAY
        lanes = [counts["lane"] for counts in line.report()["connections"]]
    assert sorted(lanes) == [0] * 10 + [1] * 10


def test_an_end_is_passed_on_after_what_came_before(start: Start) -> None:
    with start(0.005) as line, line.connect() as (client, stream):
        client.sendall(_message(b"the last words"))
        client.shutdown(socket.SHUT_WR)
        assert _read(stream) == b"the last words"
        assert stream.read() == b""


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_messages_are_counted_however_they_are_cut(size: int) -> None:
    data = b"".join(_message(b"x" * length) for length in (0, 1, 7, 0, 300))
    messages = Messages()
    for first in range(0, len(data), size):
        messages.feed(data[first : first + size])
    assert messages.count == 5
