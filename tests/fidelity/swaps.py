"""Replace one end of ZEO by ours, in this process and in those that it forks."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from queue import Empty
from typing import Any


def nothing() -> None:
    """Leave both ends as they are."""


def daemon() -> None:
    """Let ``ZEO.server`` and the tests' ``start_server`` run our daemon.

    Tests look for ZEO's events, so these are ours, and for the name of ZEO's logger.
    """
    import ZEO._forker
    import ZEO.StorageServer

    from zeotwisted.interfaces import Closed, Serving

    ZEO._forker.runner = _run_daemon
    ZEO.StorageServer.Closed = Closed
    ZEO.StorageServer.Serving = Serving
    record_factory = logging.getLogRecordFactory()

    def renamed(name: str, *args: Any, **options: Any) -> logging.LogRecord:
        if name == "zeotwisted.server":
            name = "ZEO.StorageServer"
        return record_factory(name, *args, **options)

    logging.setLogRecordFactory(renamed)


def client() -> None:
    """Let our client be ZEO's.

    Tests compare what is raised with ZEO's exceptions, so these are ours, too.
    """
    import ZEO.Exceptions

    from zeotwisted import exceptions

    for name in exceptions.__all__:
        if hasattr(ZEO.Exceptions, name):
            setattr(ZEO.Exceptions, name, getattr(exceptions, name))

    # It imports the exceptions, too.
    import ZEO.ClientStorage

    from .ourclient import ClientStorage, note_verification

    ZEO.ClientStorage.ClientStorage = ClientStorage
    note_verification()


#: The tests expect that a daemon forgets what ZEO's forgets, and loads their own classes.
_LIKE_ZEO = {"invalidation-queue-bytes": "0", "invalidation-age": "0", "conflict-classes": "*"}

SWAPS = {"stock": nothing, "daemon": daemon, "client": client}


def _run_daemon(
    config: str,
    qin: Any,
    qout: Any,
    timeout: float | None = None,
    debug: bool = False,
    name: str | None = None,
    keep: bool = False,
    protocol: bytes | None = None,
) -> None:
    """Serve what a configuration file says until something comes from `qin`.

    The parameters are those of the function that this one replaces.

    :param config: the file; it is removed.
    :param qin: tells when to stop.
    :param qout: is told the address, and in the end whether it did not stop.
    :param timeout: stop after so many seconds in any case.
    :param keep: leave the storages' files.
    """
    from twisted.internet.defer import maybeDeferred
    from twisted.internet.threads import blockingCallFromThread

    from zeotwisted.config.server import parse_server_config
    from zeotwisted.daemon.daemon import configured_daemon
    from zeotwisted.reactor.thread import ReactorThread

    if protocol is not None:
        raise NotImplementedError(f"zeotwisted's daemon cannot be told to speak {protocol!r}")
    text = Path(config).read_text()
    os.remove(config)
    for key, value in _LIKE_ZEO.items():
        if key not in text:
            text = text.replace("</zeo>", f"{key} {value}\n</zeo>")
    thread = ReactorThread("zeotwisted server reactor")
    reactor = thread.reactor
    served = configured_daemon(reactor, parse_server_config(text))
    thread.start()
    try:
        blockingCallFromThread(reactor, served.startService)
        server = served.server
        assert server is not None
        host = server.addresses()[0]
        path = getattr(host, "name", None)
        qout.put((host.host, host.port) if path is None else os.fsdecode(path))
        with contextlib.suppress(Empty):
            qin.get(timeout=timeout)
        storages = list(server._storages.values())
        blockingCallFromThread(reactor, maybeDeferred, served.stopService)
    finally:
        thread.stop()
    if not keep:
        for storage in storages:
            if hasattr(storage, "cleanup"):
                storage.cleanup()
    qout.put(False)
