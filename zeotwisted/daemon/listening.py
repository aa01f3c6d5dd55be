"""Makes the endpoints of a configuration, which say in one line why they cannot listen."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from zeotwisted.arguments import PassedSocket
from zeotwisted.storageserver import ListeningError
from zeotwisted.transport import NoSuchSocket, UnixSocketEndpoint, passed_endpoint

from .opening import explain_file

__all__ = ["UNACCEPTED", "Explaining", "endpoint"]

#: How many connections may wait to be accepted; the system may have a lower limit. After a restart
#: all clients connect at once. A client over the limit tries again only a second later.
UNACCEPTED = 1024


def _explain_listening(error: Exception) -> str:
    reason = error.socketError if isinstance(error, CannotListenError) else error
    if isinstance(reason, NoSuchSocket):
        return str(reason)
    number = getattr(reason, "errno", None)
    if number == errno.EADDRINUSE:
        return "it is in use; stop the process that has it, or choose another address"
    if number == errno.EADDRNOTAVAIL or isinstance(reason, socket.gaierror):
        return "this machine has no such address; choose one that it has"
    if number in (errno.EACCES, errno.EPERM):
        return f"{os.strerror(number)}; choose another address, or run zeo as another user"
    if isinstance(reason, OSError) and reason.filename is not None:
        return explain_file(reason)
    return f"{reason}; choose another address"


@implementer(IStreamServerEndpoint)
class Explaining:
    """An endpoint that fails with a `ListeningError` whose text names the remedy."""

    def __init__(self, place: IStreamServerEndpoint) -> None:
        self._place = place

    def listen(self, protocolFactory: Any) -> Any:
        return self._place.listen(protocolFactory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        raise ListeningError(_explain_listening(failure.value))


@implementer(IStreamServerEndpoint)
class _Missing:
    """An endpoint for a socket that systemd has not passed: it cannot listen."""

    def __init__(self, error: NoSuchSocket) -> None:
        self._error = error

    def listen(self, protocolFactory: Any) -> Any:
        return fail(self._error)


def endpoint(reactor: Any, address: tuple[str, int] | str | PassedSocket) -> IStreamServerEndpoint:
    """Return the endpoint for an address of zeo.conf.

    It may be host and port, the path of a Unix socket, or a socket of systemd's.
    """
    if isinstance(address, PassedSocket):
        # Look now: systemd passes it to this process, and not to the one in the background.
        try:
            passed = passed_endpoint(reactor, address.description)
        except NoSuchSocket as error:
            return _Missing(error)
        assert passed is not None
        return passed
    if isinstance(address, str):
        return UnixSocketEndpoint(reactor, address, UNACCEPTED, 0o600)
    host, port = address
    kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    return kind(reactor, port, UNACCEPTED, interface=host)
