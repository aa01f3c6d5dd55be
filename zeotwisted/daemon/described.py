"""An ``ssl:`` endpoint of Twisted's that reads its certificates again when their files change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from zeotwisted.config import ContextError, FileState, file_states, is_encrypted

from .certificates import endpoint_files
from .secured import RenewedEndpoint

__all__ = ["DescribedEndpoint", "EncryptedKey"]


class EncryptedKey(ValueError):
    """The private key needs a password. Twisted would ask for it at the terminal."""


@dataclass(frozen=True)
class _Listening:
    """What a description says."""

    port: int
    interface: str
    backlog: int
    #: Makes the contexts of new connections.
    contexts: Any


class _Catcher:
    """Takes the place of a reactor, and keeps what it is asked for."""

    caught: _Listening

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> None:
        self.caught = _Listening(port, interface, backlog, contextFactory)


def _read(text: str) -> _Listening:
    """Read a description and its files, with Twisted's own code.

    :raises EncryptedKey: the private key needs a password.
    :raises Exception: the description, or a file, cannot be used.
    """
    key = endpoint_files(text)["privateKey"]
    if os.path.isfile(key) and is_encrypted(key):
        raise EncryptedKey(f"{key} is encrypted")
    catcher = _Catcher()
    serverFromString(catcher, text).listen(Factory())
    return catcher.caught


class DescribedFiles:
    """The files of a description, see `config.TLSFiles`."""

    #: It checks no clients.
    trusted: tuple[str, ...] = ()

    def __init__(self, text: str) -> None:
        self._text = text
        files = endpoint_files(text)
        self._paths = tuple(map(os.path.abspath, files.values()))
        self.certificate = os.path.abspath(files["certKey"])

    def state(self) -> FileState:
        """Return something that is another when a file has changed."""
        return file_states(self._paths)

    def context(self) -> Any:
        """Read the files; return what makes the contexts of new connections.

        :raises ContextError: one of them cannot be used.
        """
        try:
            return _read(self._text).contexts
        except Exception as error:
            # Twisted reads the files with code that may raise anything.
            raise ContextError(
                str(error) or type(error).__name__,
                "the certificate and its private key must be there in PEM format, and belong "
                "together",
            ) from None


class _Newest:
    """Makes the contexts of new connections; see `twisted.internet.ssl.ContextFactory`."""

    def __init__(self, contexts: Any) -> None:
        self.contexts = contexts

    def getContext(self) -> Any:
        """Return a context of pyOpenSSL. Twisted calls this for each connection."""
        return self.contexts.getContext()


@implementer(IStreamServerEndpoint)
class DescribedEndpoint(RenewedEndpoint):
    """An ``ssl:`` endpoint.

    :param text: its description.
    :raises Exception: see `_read`.
    """

    def __init__(self, reactor: Any, text: str) -> None:
        super().__init__(text, DescribedFiles(text))
        self._reactor = reactor
        self._place = _read(text)
        self._newest = _Newest(self._place.contexts)

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        place = self._place
        return execute(
            self._reactor.listenSSL,
            place.port,
            protocolFactory,
            self._newest,
            backlog=place.backlog,
            interface=place.interface,
        )

    def use(self, context: Any) -> None:
        self._newest.contexts = context
