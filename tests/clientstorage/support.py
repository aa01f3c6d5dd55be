"""What the tests of the client share: servers that can be stopped, and things in their way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

ROOT = Path(__file__).parent.parent.parent

#: How long (seconds) something may take that should take no time at all.
SOON = 20.0


def wait_for_connection(storage: Any, what: str, condition: Callable[[], bool]) -> None:
    """Wait until the state of a storage's connection makes `condition` true."""
    changed = storage._link.connection._changed
    with changed:
        assert changed.wait_for(condition, SOON), f"waited too long until {what}"


def wait_until(what: str, condition: Callable[[], Any]) -> Any:
    """Return what `condition` returns, once it is true.

    For what is seen from outside only, and announces nothing: a server's counters, another
    thread's stack.
    """
    deadline = time.monotonic() + SOON
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.005)
    return value


def store(storage: Any, oid: bytes, data: bytes, serial: bytes = z64) -> bytes:
    """Commit one record; return the tid."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        storage.store(oid, serial, data, "", txn)
        storage.tpc_vote(txn)
        return storage.tpc_finish(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise


class InThread:
    """A call in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._function = function
        self._args = args
        self.value: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._function(*self._args)
        except BaseException as error:
            self.error = error

    @property
    def stack(self) -> list[str]:
        """The names of the functions that it is in, the innermost first."""
        ident = self._thread.ident
        assert ident is not None
        frame = sys._current_frames().get(ident)
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return names

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = SOON) -> Any:
        """Return what the call returned, or raise what it raised."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the call hangs"
        if self.error is not None:
            raise self.error
        return self.value


_ZEO_PROGRAM = """
import json, os, sys, ZEO
address, stop = ZEO.server(**json.loads(sys.stdin.readline()), threaded=True)
print(json.dumps(address), flush=True)
sys.stdin.read()
stop()
os._exit(0)
"""


def _start_zeo(threaded: bool, **kwargs: str) -> tuple[Any, Callable[[], None]]:
    """Start ZEO's server in a process of its own, at whose end all of its sockets are closed.

    In a thread its event loop may end before it has closed them.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _ZEO_PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(kwargs) + "\n")
    process.stdin.flush()
    address = json.loads(process.stdout.readline())

    def stop() -> None:
        process.communicate(timeout=SOON)

    return address if isinstance(address, str) else tuple(address), stop


class Server:
    """A server that can be stopped and started again at the same address.

    :param package: whose server it is.
    :param options: lines for its ``<zeo>`` section.
    :param storage: the storage's section; by default a FileStorage in `directory`.
    """

    def __init__(
        self,
        directory: Path,
        package: str = "zeotwisted",
        options: tuple[str, ...] = (),
        storage: str | None = None,
        threaded: bool = True,
        address: str = "127.0.0.1:0",
        start: bool = True,
    ) -> None:
        self.data_fs = directory / "Data.fs"
        self._package = package
        self._options = options
        self._storage = storage or f"<filestorage>\n path {self.data_fs}\n</filestorage>\n"
        self._threaded = threaded
        self._address = address
        self.address: Any = None
        self._stop: Callable[[], None] | None = None
        if start:
            self.start()

    def start(self) -> None:
        lines = ("<zeo>", f"address {self._address}", *self._options, "</zeo>\n")
        start = _start_zeo if self._package == "ZEO" else import_module(self._package).server
        self.address, self._stop = start(
            storage_conf=self._storage, zeo_conf="\n".join(lines), threaded=self._threaded
        )
        if not isinstance(self.address, str):
            self._address = "{}:{}".format(*self.address)

    def stop(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()


class Proxy:
    """Passes bytes on between clients and a server, as long as it is let.

    :ivar address: where to connect to.
    :ivar held: is set while something from the server is being held back.
    """

    def __init__(
        self, target: tuple[str, int], address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._target = target
        self._listener = socket.create_server(address)
        self.address = self._listener.getsockname()
        self._may_pass = threading.Event()
        self._may_pass.set()
        self.held = threading.Event()
        self._sockets: list[tuple[socket.socket, socket.socket]] = []
        self._silenced: set[socket.socket] = set()
        self._stalled: set[socket.socket] = set()
        self._closed = threading.Event()
        #: What clients have sent.
        self.sent = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

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
            self._sockets.append((client, server))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                if client in self._stalled:
                    self._closed.wait()
                if client in self._silenced:
                    continue
                self.sent += data
                server.sendall(data)
        except OSError:
            pass
        if client not in self._silenced:
            _end(server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                if not self._may_pass.is_set():
                    self.held.set()
                    self._may_pass.wait()
                if client in self._silenced:
                    continue
                client.sendall(data)
        except OSError:
            pass
        if client not in self._silenced:
            _end(client)

    def hold(self) -> None:
        """Pass nothing on to clients from now on."""
        self.held.clear()
        self._may_pass.clear()

    def silence(self) -> None:
        """Swallow what comes by the present connections, even their ends, and say nothing."""
        self._silenced.update(client for client, _ in self._sockets)

    def stall(self) -> None:
        """Take no more from the clients that are connected."""
        self._stalled.update(client for client, _ in self._sockets)

    def release(self) -> None:
        """Pass on what was held back."""
        self._may_pass.set()

    def inject(self, data: bytes) -> None:
        """Send something to all clients that the server did not say."""
        for client, _ in self._sockets:
            client.sendall(data)

    def drop(self) -> None:
        """End all connections."""
        sockets, self._sockets = self._sockets, []
        for pair in sockets:
            for end in pair:
                _end(end)

    def close(self) -> None:
        self._closed.set()
        _end(self._listener)
        self._listener.close()
        self.drop()
        self.release()


def _end(end: socket.socket) -> None:
    with suppress(OSError):  # it may have ended already
        end.shutdown(socket.SHUT_RDWR)


class Stranger:
    """Something that listens, and says one thing to whoever connects.

    :param says: what it says.
    :param hangs_up: whether it closes the connection then.
    """

    def __init__(self, says: bytes = b"", hangs_up: bool = False) -> None:
        self._says = says
        self._hangs_up = hangs_up
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.clients.append(client)
            try:
                client.sendall(self._says)
            except OSError:
                continue
            if self._hangs_up:
                client.close()

    def close(self) -> None:
        _end(self._listener)
        self._listener.close()
        for client in self.clients:
            client.close()


class World(ExitStack):
    """Makes servers and clients, and ends them, the last one first."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._servers = 0
        self._proxies: list[tuple[str, int]] = []
        #: What Twisted has logged as failures; a test removes what it expects.
        self.failures: list[Failure] = []

    def server(self, package: str = "zeotwisted", *options: str, **kwargs: Any) -> Server:
        self._servers += 1
        directory = self._directory / f"server{self._servers}"
        directory.mkdir()
        server = Server(directory, package, options, **kwargs)
        self.callback(server.stop)
        return server

    def client(self, address: Any, **options: Any) -> Any:
        from zeotwisted import ClientStorage

        defaults: dict[str, Any] = {"wait_timeout": SOON}
        if address in self._proxies:
            # Tests hold or cut at a message of their own; that of a warm start could come first.
            defaults["warm_start"] = False
        storage = ClientStorage(address, **(defaults | options))
        self.callback(storage.close)
        return storage

    def proxy(self, server: Server, address: tuple[str, int] = ("127.0.0.1", 0)) -> Proxy:
        proxy = Proxy(server.address, address)
        self._proxies.append(proxy.address)
        self.callback(proxy.close)
        return proxy

    def stranger(self, says: bytes = b"", hangs_up: bool = False) -> Stranger:
        stranger = Stranger(says, hangs_up)
        self.callback(stranger.close)
        return stranger


#: Goes before each script: `announce` prints when the main thread waits for something of ours.
_PRELUDE = '''
import os, sys, threading, time

ADDRESS = {address!r}

def announce(*functions):
    """Print "waiting" when the main thread is in one of these functions, and waits there."""
    main = threading.get_ident()

    def watch():
        while True:
            frame = sys._current_frames()[main]
            code = frame.f_code
            if code.co_name in ("wait", "acquire") and any(
                frame.f_code.co_name in functions for frame in stack(frame)
            ):
                print("waiting", flush=True)
                return
            time.sleep(0.01)

    def stack(frame):
        while frame is not None:
            yield frame
            frame = frame.f_back

    threading.Thread(target=watch, daemon=True).start()
'''


class Script:
    """A Python program in a process of its own.

    :param address: what `ADDRESS` is in it.
    """

    def __init__(self, source: str, address: Any = None, *options: str) -> None:
        program = _PRELUDE.format(address=address) + textwrap.dedent(source)
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            text=True,
        )

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            _, errors = self.process.communicate(timeout=SOON)
            raise AssertionError(f"the script has ended: {errors}")
        return line

    def say(self) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, timeout: float = 2 * SOON) -> tuple[int, str, str]:
        """Wait for its end; return its exit code, and what it has printed."""
        try:
            output, errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
            raise AssertionError(f"the script does not end: {output}\n{errors}")
        return self.process.returncode, output, errors

    def succeed(self) -> str:
        """Return what it has printed, if it ends well and says nothing about errors."""
        code, output, errors = self.end()
        assert (code, errors) == (0, ""), output + errors
        return output
