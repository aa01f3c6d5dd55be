"""The places where a server listens: ``address`` of ``<zeo>``, and ``<listen>`` sections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from zeotwisted.access import Access
from zeotwisted.arguments import Address, PassedSocket

from .tls import ContextError, server_context
from .tlsfiles import TLSFiles

__all__ = ["HTTPListener", "Listener", "TLSMistake", "described", "http_from", "listeners_from"]


@dataclass(frozen=True)
class Listener:
    """A place where a server listens.

    :ivar address: (host, port), the path of a Unix socket, or a socket of systemd's.
    :ivar ssl: certificates and settings of TLS, or None to listen without TLS.
    :ivar files: the files that `ssl` was made of; None without TLS.
    :ivar access: the roles of clients here, or None for those of the server.
    """

    address: Address | PassedSocket
    ssl: SSLContext | None = None
    files: TLSFiles | None = None
    access: Access | None = None

    @property
    def description(self) -> str:
        """The address as a text for users."""
        return described(self.address)

    @property
    def host(self) -> str | None:
        """The network address, empty for all interfaces; None if it is none, or is not known."""
        return self.address[0] if isinstance(self.address, tuple) else None


@dataclass(frozen=True)
class HTTPListener:
    """Where a server answers requests of HTTP.

    :ivar names: its names, besides those that it knows by itself.
    """

    listener: Listener
    names: frozenset[str] = frozenset()


def described(address: Address | PassedSocket) -> str:
    """Return an address as a text for users."""
    if isinstance(address, PassedSocket):
        return address.description
    return address if isinstance(address, str) else "{}:{}".format(*address)


class TLSMistake(ValueError):
    """An ``<ssl>`` section cannot be used.

    :ivar section: the section.
    :ivar what: the mistake.
    :ivar remedy: what to write instead.
    :ivar key: the key that has the mistake, or would have it.
    """

    def __init__(self, section: Any, error: ContextError) -> None:
        super().__init__(str(error))
        self.section = section
        self.what = f"<ssl>: {error.what}"
        self.remedy = error.remedy
        self.key = error.what.partition(":")[0]


def listeners_from(zeo: Any, access: Callable[[Any], Access | None]) -> tuple[Listener, ...]:
    """Return where a server listens; it may be nowhere.

    :param zeo: the value of the section <zeo>.
    :param access: returns the roles that the <access> sections in a section give.
    :raises TLSMistake: an <ssl> section cannot be used.
    """
    listeners = []
    if zeo.address is not None:
        listeners.append(_listener(zeo, None))
    listeners += [_listener(section, access(section)) for section in zeo.listeners]
    return tuple(listeners)


def http_from(zeo: Any, access: Callable[[Any], Access | None]) -> HTTPListener | None:
    """Return where a server answers requests of HTTP, if it does; see `listeners_from`."""
    if zeo.http is None:
        return None
    return HTTPListener(_listener(zeo.http, access(zeo.http)), zeo.http.names)


def _listener(section: Any, access: Access | None) -> Listener:
    if section.ssl is None:
        return Listener(section.address, access=access)
    try:
        context = server_context(section.ssl)
    except ContextError as error:
        raise TLSMistake(section.ssl, error) from None
    return Listener(section.address, context, TLSFiles.of(section.ssl), access)
