"""Unix sockets: removes one that a killed daemon left, and refuses one that is in use.

A daemon that is killed leaves its socket in the file system. To check whether a socket is in use,
Twisted looks for a process with the id of the daemon that made it. In a container this fails,
because each daemon has the same process id. This module uses two other checks: a file lock, which
the system releases when the process ends, and a connection, which an unused socket refuses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from typing import Any

import zc.lockfile
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from zope.interface import implementer

__all__ = ["UnixSocketEndpoint", "unix_endpoint"]

#: How long (seconds) a daemon may take to accept a connection.
_ANSWER = 5.0


@implementer(IStreamServerEndpoint)
class UnixSocketEndpoint:
    """Listens at a path, where another daemon may have left a socket.

    :param mode: the permissions of the socket's file.
    """

    def __init__(self, reactor: Any, path: str, backlog: int, mode: int) -> None:
        self._reactor = reactor
        self._path = path
        self._backlog = backlog
        self._mode = mode

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        """Return a Deferred, which fires with the port.

        It fails with an `OSError` if the path is in use, or cannot be used.
        """
        lock = None
        try:
            lock = _lock(f"{self._path}.lock")
            _remove_left_behind(self._path)
            port = self._reactor.listenUNIX(
                self._path, protocolFactory, self._backlog, self._mode, wantPID=False
            )
        except Exception:
            if lock is not None:
                lock.close()
            return fail()
        return succeed(_Port(port, lock))


@implementer(IListeningPort)
class _Port:
    """A port that releases the lock when it is closed."""

    def __init__(self, port: IListeningPort, lock: zc.lockfile.LockFile) -> None:
        self._port = port
        self._lock = lock

    def startListening(self) -> None:
        self._port.startListening()

    def stopListening(self) -> Deferred[None]:
        return maybeDeferred(self._port.stopListening).addBoth(self._let_go)

    def _let_go(self, result: Any) -> Any:
        # Do not remove the lock's file: another daemon may have locked it meanwhile.
        self._lock.close()
        return result

    def getHost(self) -> Any:
        return self._port.getHost()


def _lock(path: str) -> zc.lockfile.LockFile:
    with contextlib.suppress(FileNotFoundError):
        # Twisted's lock is a symbolic link, whose target is a process id.
        if os.path.islink(path):
            os.remove(path)
    try:
        return zc.lockfile.LockFile(path)
    except zc.lockfile.LockError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def _remove_left_behind(path: str) -> None:
    """Remove a socket at which no process listens.

    :raises OSError: a process listens at it, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.ENOTSOCK, "it is not a socket", path)
    except FileNotFoundError:
        if os.path.islink(path):
            raise OSError(errno.EEXIST, "it is a link to nothing", path) from None
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ANSWER)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.remove(path)
            return
        except (TimeoutError, BlockingIOError):
            # The backlog of the listening socket is full.
            pass
        except OSError as error:
            # EPROTOTYPE: another program listens with another type of socket, such as datagrams.
            if error.errno != errno.EPROTOTYPE:
                raise
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


def unix_endpoint(reactor: Any, description: str, backlog: int) -> UnixSocketEndpoint | None:
    """Return the endpoint for a Twisted description such as ``unix:/run/zeo.sock:mode=660``.

    None if it describes another kind of endpoint, or has a mistake that Twisted itself reports.

    :param backlog: how many connections may wait to be accepted, if `description` has no backlog.
    """
    kind, *arguments = (
        re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", description)
    )
    if kind != "unix" or not arguments:
        return None
    values = {"backlog": str(backlog), "mode": "666"}
    for index, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if not separator and index == 0:
            values["address"] = argument
        elif separator and name in ("address", "backlog", "lockfile", "mode"):
            values[name] = value
        else:
            return None
    try:
        return UnixSocketEndpoint(
            reactor, values["address"], int(values["backlog"]), int(values["mode"], 8)
        )
    except (KeyError, ValueError):
        return None
