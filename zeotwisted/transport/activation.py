"""Sockets that systemd has opened, and passes to the daemon: "socket activation".

The sockets stay open at systemd when the daemon stops. Clients that connect meanwhile wait for the
next daemon.

Twisted's endpoint ``systemd:`` is not used for two reasons. It does not find sockets without names,
or several sockets of one name. And it treats a Unix socket as its own: it changes the permissions
that the unit gives to the socket, and removes the socket when the daemon stops.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IListeningPort, IReadDescriptor, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from zeotwisted.arguments import ArgumentError, PassedSocket, parse_passed_socket

__all__ = ["NoSuchSocket", "passed_endpoint"]

#: The first descriptor that systemd passes.
_FIRST = 3

#: How many connections to accept before other events have their turn.
_AT_ONCE = 100

#: How long (seconds) not to accept connections when descriptors or memory are used up.
_PAUSE = 1.0
_USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class NoSuchSocket(ValueError):
    """systemd has not passed such a socket; the text says what to write instead."""


def _environment() -> Mapping[str, str]:
    """Return the variables with which the process was started.

    Twisted removes some of them from `os.environ` when it is imported.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return os.environ
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def passed_endpoint(
    reactor: Any, description: str, environment: Mapping[str, str] | None = None
) -> IStreamServerEndpoint | None:
    """Return the endpoint for a description such as ``systemd:index=0`` or ``systemd:name=zeo``.

    None if `description` is about another kind of endpoint.

    :param environment: the variables with which the process was started.
    :raises NoSuchSocket: systemd has not passed this socket, or it cannot be used.
    """
    try:
        wanted = parse_passed_socket(description)
    except ArgumentError as error:
        raise NoSuchSocket(str(error)) from None
    if wanted is None:
        return None
    descriptor = _find(wanted, _environment() if environment is None else environment)
    family = _family(descriptor, wanted.domain)
    if family == socket.AF_UNIX:
        return _UnixEndpoint(reactor, descriptor)
    return AdoptedStreamServerEndpoint(reactor, descriptor, family)


def _find(wanted: PassedSocket, environment: Mapping[str, str]) -> int:
    """Return the descriptor of a socket."""
    count, names = 0, [""]
    if environment.get("LISTEN_PID") == str(os.getpid()):
        text = environment.get("LISTEN_FDS", "")
        count = int(text) if text.isascii() and text.isdigit() else 0
        names = environment.get("LISTEN_FDNAMES", "").split(":")
    if not count:
        raise NoSuchSocket(
            "systemd passes no such socket; start the daemon by a .socket unit, or write another "
            "endpoint, such as tcp:8100:interface=127.0.0.1"
        )
    if wanted.name is not None:
        found = [number for number, each in enumerate(names[:count]) if each == wanted.name]
        if len(found) > 1:
            raise NoSuchSocket(f"{len(found)} sockets have this name; write index={found[0]}")
        if not found:
            known = ", ".join(each or "(none)" for each in names[:count])
            raise NoSuchSocket(f"no socket has this name; write index=0, or one of: {known}")
        return _FIRST + found[0]
    if wanted.index is None and count > 1:
        raise NoSuchSocket(f"systemd passes {count} sockets; write systemd:index=0 for the first")
    index = wanted.index or 0
    if index >= count:
        raise NoSuchSocket(
            f"systemd passes no such socket; write an index from 0 to {count - 1}"
            if count > 1
            else "systemd passes no such socket; it passes one, so write index=0"
        )
    return _FIRST + index


def _family(descriptor: int, domain: str | None) -> int:
    """Return the family of a listening socket, which must be `domain` if that is given."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            family = passed.family
            listens = passed.type == socket.SOCK_STREAM and passed.getsockopt(
                socket.SOL_SOCKET, socket.SO_ACCEPTCONN
            )
    except OSError as error:
        raise NoSuchSocket(
            f"descriptor {descriptor} is no socket ({error.strerror}); correct the .socket unit"
        ) from None
    if not listens:
        raise NoSuchSocket(
            "the socket does not listen; write ListenStream=, and not Accept=yes, into the "
            ".socket unit"
        )
    right = socket.AddressFamily(family).name.removeprefix("AF_")
    if domain is not None and domain != right:
        raise NoSuchSocket(f"the socket is of another kind; write domain={right}, or no domain")
    return family


@implementer(IStreamServerEndpoint)
class _UnixEndpoint:
    """Listens at a Unix socket that systemd has opened."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        try:
            port = _UnixPort(self._reactor, socket.socket(fileno=self._descriptor), protocolFactory)
            port.startListening()
        except OSError:
            return fail()
        return succeed(port)


@implementer(IListeningPort, IReadDescriptor)
class _UnixPort:
    """Accepts connections at a socket that stays when this port is closed."""

    _log = Logger()

    def __init__(self, reactor: Any, listening: socket.socket, factory: Any) -> None:
        self._reactor = reactor
        self._socket = listening
        self._factory = factory
        self._paused: Any = None

    def startListening(self) -> None:
        self._socket.setblocking(False)
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            if self._paused is not None:
                self._paused.cancel()
                self._paused = None
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(os.fsencode(self._socket.getsockname()))

    # The methods that the reactor calls.

    def logPrefix(self) -> str:
        return "Unix socket of systemd"

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _USED_UP:
                    raise
                # The connections wait at systemd's socket.
                self._log.warn(
                    "cannot accept connections for {pause:g} seconds: {error}",
                    pause=_PAUSE,
                    error=error.strerror,
                )
                self._reactor.removeReader(self)
                self._paused = self._reactor.callLater(_PAUSE, self._go_on)
                return
            with connection:
                connection.setblocking(False)
                # It makes a copy of the descriptor.
                self._reactor.adoptStreamConnection(
                    connection.fileno(), socket.AF_UNIX, self._factory
                )

    def _go_on(self) -> None:
        self._paused = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Any) -> None:
        """The reactor stops, or `doRead` has failed."""
        self.stopListening()
