"""Endpoints that use TLS, and read their certificates again when the files change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from ssl import SSLContext
from typing import Any, Protocol

from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from zeotwisted.config import ContextError, FileState, TLSFiles
from zeotwisted.transport import TLSFactory

from .certificates import first_certificate

__all__ = ["RenewedEndpoint", "SecuredEndpoint"]


class Files(Protocol):
    """The files of an endpoint; see `config.TLSFiles`."""

    @property
    def certificate(self) -> str:
        """The file of the endpoint's own certificate."""

    @property
    def trusted(self) -> Sequence[str]:
        """The files of the certificates by which clients are checked."""

    def state(self) -> FileState:
        """Return something that is another when a file has changed."""

    def context(self) -> Any:
        """Read the files; return what `RenewedEndpoint.use` takes.

        :raises ContextError: one of them cannot be used.
        """


class RenewedEndpoint(ABC):
    """Reads the files of an endpoint again.

    :param description: the name of the endpoint in messages.
    :ivar files: the files of the certificates and of the key.
    """

    _log = Logger()

    def __init__(self, description: str, files: Files) -> None:
        self.files = files
        self._description = description
        #: The state of the files that were read last, whether they could be used or not.
        self._read = files.state()
        #: The state at the last `look`.
        self._seen = self._read

    @abstractmethod
    def use(self, context: Any) -> None:
        """Use what the files contain now, for new connections."""

    def look(self) -> bool:
        """Read the files if they have changed; return whether new ones are in use.

        A certificate and its key cannot be replaced at once. So they are read only when they are as
        they were at the call before.
        """
        state = self.files.state()
        is_stable = state == self._seen
        self._seen = state
        return is_stable and state != self._read and self.renew()

    def renew(self) -> bool:
        """Read the files, and use them for new connections; return whether they can be used."""
        self._read = self._seen = self.files.state()
        try:
            context = self.files.context()
        except ContextError as error:
            self._log.warn(
                "{place}: the certificates have changed and cannot be used, so the old ones stay "
                "in use: {error}",
                place=self._description,
                error=error,
            )
            return False
        self.use(context)
        self._log.info(
            "{place}: the certificates were read again, for new connections",
            place=self._description,
        )
        return True


@implementer(IStreamServerEndpoint)
class SecuredEndpoint(RenewedEndpoint):
    """An endpoint with our TLS.

    :param place: the endpoint without TLS.
    :param context: what `files` contains now.
    """

    def __init__(
        self,
        reactor: Any,
        place: IStreamServerEndpoint,
        description: str,
        context: SSLContext,
        files: TLSFiles,
    ) -> None:
        super().__init__(description, files)
        self._reactor = reactor
        self._place = place
        self._context = context
        self._certificate = first_certificate(files.certificate)
        self._factories: list[TLSFactory] = []

    def listen(self, protocolFactory: Any) -> Any:
        factory = TLSFactory(
            protocolFactory, self._context, self._reactor, True, certificate=self._certificate
        )
        self._factories.append(factory)
        return self._place.listen(factory)

    def use(self, context: SSLContext) -> None:
        self._context = context
        self._certificate = first_certificate(self.files.certificate)
        for factory in self._factories:
            factory.use(self._context, self._certificate)
