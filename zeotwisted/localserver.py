"""Starts a server by a function call, for exploration and tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from .arguments import Rule, Table, Wrong, checked, flag, optional, path, text

__all__ = ["server"]

Address: TypeAlias = "tuple[str, int] | str"

#: How long (seconds) a child process may take to start or to stop.
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0


def _path(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        raise Wrong(f"port={value} if that is meant, or the path of a file")
    return path(value)


def _port(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 65536:
        raise Wrong
    return value


def _settings(value: Any) -> str | dict[str, Any]:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise Wrong("a dict whose keys are texts, such as {'read_only': True}")
        return value
    return text(value)


#: The rules for the arguments of `server`.
_ARGUMENTS: Table = {
    "path": Rule(optional(_path), "the path of a file"),
    "blob_dir": Rule(optional(path), "the path of a folder"),
    "storage_conf": Rule(optional(text), "sections of ZODB's configuration as a text"),
    "zeo_conf": Rule(
        optional(_settings), "a <zeo> section as a text, or a dict such as {'read_only': True}"
    ),
    "port": Rule(_port, "a number from 0 to 65535; 0 for any that is free"),
    "threaded": Rule(flag, "True or False"),
}


def server(
    path: str | None = None,
    blob_dir: str | None = None,
    storage_conf: str | None = None,
    zeo_conf: str | dict[str, Any] | None = None,
    port: int = 0,
    threaded: bool = True,
) -> tuple[Address, Callable[[], None]]:
    """Start a server; return its address and a function that stops it.

    Without `path` and `storage_conf`, the storage is in memory.

    :param path: a FileStorage's file; ignored if there is a `storage_conf`.
    :param blob_dir: the storage's blob directory; ignored if there is a `storage_conf`.
    :param storage_conf: sections of ZODB's configuration, one for each storage.
    :param zeo_conf: a ``<zeo>`` section, or a dict of its keys (with ``_`` for ``-``).
    :param port: the port at 127.0.0.1, if there is no ``<zeo>`` section; 0 for any free port.
    :param threaded: run the server in a thread of this process; otherwise in a new process.
    :raises ValueError: an argument can never work; the text says what to write instead.
    :raises zeotwisted.config.server.ConfigurationError: a mistake in the configuration.
    :raises zeotwisted.daemon.StartError: a storage cannot be opened, or the port is in use.
    """
    valid = checked(_ARGUMENTS, locals())
    from .config import storage_section

    if storage_conf is None:
        storage_conf = storage_section(path, blob_dir)
    if not isinstance(zeo_conf, str):
        zeo_conf = _zeo_section(valid.port, zeo_conf or {})
    text = f"{zeo_conf}\n{storage_conf}\n"
    return _start_thread(text) if valid.threaded else _start_process(text)


def _zeo_section(port: int, options: dict[str, Any]) -> str:
    keys = {"address": f"127.0.0.1:{port}"} | options
    lines = [f"  {name.replace('_', '-')} {value}" for name, value in keys.items()]
    return "\n".join(["<zeo>", *lines, "</zeo>"])


def _start_thread(text: str) -> tuple[Address, Callable[[], None]]:
    from twisted.internet.defer import maybeDeferred
    from twisted.internet.threads import blockingCallFromThread

    from .config import parse_server_config
    from .daemon import configured_daemon
    from .reactor import ReactorThread

    config = parse_server_config(text)
    thread = ReactorThread("zeotwisted server reactor")
    reactor = thread.reactor
    daemon = configured_daemon(reactor, config)
    thread.start()

    def start() -> Address:
        daemon.startService()
        assert daemon.server is not None
        # The first one: the function returns one address.
        host = daemon.server.addresses()[0]
        name = getattr(host, "name", None)
        return (host.host, host.port) if name is None else os.fsdecode(name)

    def end() -> None:
        thread.stop()
        daemon.release_logs()

    stopped = False

    def stop() -> None:
        nonlocal stopped
        if stopped:
            return
        stopped = True
        try:
            blockingCallFromThread(reactor, lambda: maybeDeferred(daemon.stopService))
        finally:
            end()

    try:
        address: Address = blockingCallFromThread(reactor, start)
    except BaseException:
        end()
        raise
    return address, stop


def _start_process(text: str) -> tuple[Address, Callable[[], None]]:
    from .config import parse_server_config
    from .daemon import StartError

    # Raise ConfigurationError here: the child process can only report a text.
    parse_server_config(text)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import run_child; run_child()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(text) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        process.communicate(timeout=_START_TIMEOUT)
        raise StartError("the server process ended before it was started")
    started = json.loads(answer)
    if "error" in started:
        process.communicate(timeout=_STOP_TIMEOUT)
        raise StartError(started["error"])
    address = started["address"]

    def stop() -> None:
        # communicate() closes the child's standard input, and then the child stops. The input also
        # ends when this process ends.
        if process.poll() is None:
            try:
                process.communicate(timeout=_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    stop.process = process  # type: ignore[attr-defined]
    return address if isinstance(address, str) else (address[0], address[1]), stop


def run_child() -> None:
    """Run the server in the child process, until its standard input ends.

    It reads the configuration from standard input, and writes the address to standard output.
    """
    from .config import ConfigurationError
    from .daemon import StartError

    text = json.loads(sys.stdin.readline())
    try:
        address, stop = _start_thread(text)
    except (ConfigurationError, StartError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"address": address}), flush=True)
    sys.stdin.read()
    stop()
