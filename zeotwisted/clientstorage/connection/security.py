"""TLS for the client's connections, from the client's `ssl` argument."""

from __future__ import annotations

import ipaddress
import ssl as stdlib_ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLContextFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from zeotwisted.arguments import ArgumentError, shown
from zeotwisted.transport import HandshakeError, TLSFactory

from .address import Address

__all__ = ["Security", "client_security", "plain"]

#: Wraps an endpoint that connects to the address; the arguments are the reactor, the endpoint and
#: the address.
Security = Callable[[Any, Any, Address], Any]


def plain(reactor: Any, endpoint: Any, address: Address) -> Any:
    """Connect without TLS."""
    return endpoint


def client_security(ssl: Any, server_hostname: str | None) -> Security:
    """Return what adds TLS to connections, if `ssl` asks for it.

    :param ssl: None or False for plain connections, an `ssl.SSLContext`, a function that returns
        one and is called for each connection, what
        `twisted.internet.ssl.optionsForClientTLS` returns, or a
        `twisted.internet.ssl.CertificateOptions`.
    :param server_hostname: the host name in the server's certificate, if it is not the host of the
        address.
    :raises ArgumentError: `ssl` is something else.
    :raises ValueError: the two arguments do not fit.
    """
    if not ssl:
        if server_hostname:
            raise ValueError(
                "ssl_server_hostname is of no use without ssl; add ssl, or leave it out"
            )
        return plain
    if isinstance(ssl, stdlib_ssl.SSLContext):
        if ssl.protocol is stdlib_ssl.PROTOCOL_TLS_SERVER:
            raise ValueError(
                "ssl is a context for servers; a client's is made with ssl.create_default_context()"
            )
        return _standard(lambda: ssl, server_hostname)
    if IOpenSSLContextFactory.providedBy(ssl):
        # Before the next test: some of these provide both interfaces, and their own connections do
        # not check the server's name.
        return _twisted(lambda address: _NameCheck(ssl.getContext(), server_hostname, address))
    if IOpenSSLClientConnectionCreator.providedBy(ssl):
        if server_hostname:
            raise ValueError(
                "ssl_server_hostname cannot be given with these options; give the name to "
                "optionsForClientTLS instead"
            )
        return _twisted(lambda address: ssl)
    if callable(ssl) and not isinstance(ssl, type):
        return _standard(ssl, server_hostname)
    raise ArgumentError(
        f"ssl: {shown(ssl)} cannot be used; it must be an ssl.SSLContext, or what "
        "twisted.internet.ssl.optionsForClientTLS returns"
    )


def _hostname(server_hostname: str | None, address: Address, is_checked: bool) -> str | None:
    """Return the host name that the certificate of the server at `address` must have, if any.

    :raises HandshakeError: there is none, and the name has to be checked.
    """
    if server_hostname:
        return server_hostname
    if not isinstance(address, str):
        return address[0]
    if is_checked:
        raise HandshakeError(
            f"{address} is no host whose name could be checked; give ssl_server_hostname"
        )
    return None


def _standard(newest: Callable[[], stdlib_ssl.SSLContext], server_hostname: str | None) -> Security:
    def secure(reactor: Any, endpoint: Any, address: Address) -> Any:
        context = newest()
        hostname = _hostname(server_hostname, address, context.check_hostname)
        return _Secured(
            endpoint, lambda factory: TLSFactory(factory, context, reactor, False, hostname)
        )

    return secure


def _twisted(creator: Callable[[Address], Any]) -> Security:
    # Imported here, because only applications that use these options need pyOpenSSL.
    from twisted.protocols.tls import TLSMemoryBIOFactory

    def secure(reactor: Any, endpoint: Any, address: Address) -> Any:
        # The default clock would be the global reactor.
        options = creator(address)
        return _Secured(
            endpoint, lambda factory: TLSMemoryBIOFactory(options, True, factory, clock=reactor)
        )

    return secure


@implementer(IStreamClientEndpoint)
class _Secured:
    """An endpoint that connects through a wrapped factory and returns the inner protocol."""

    def __init__(self, endpoint: Any, wrap: Callable[[Any], Any]) -> None:
        self._endpoint = endpoint
        self._wrap = wrap

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        connected: Deferred[Any] = self._endpoint.connect(self._wrap(protocolFactory))
        return connected.addCallback(lambda outer: outer.wrappedProtocol)


@implementer(IOpenSSLClientConnectionCreator)
class _NameCheck:
    """Adds the check of the server's name to certificate options, which do not have it.

    A context that does not verify certificates does not check the name either.
    """

    def __init__(self, context: Any, server_hostname: str | None, address: Address) -> None:
        from OpenSSL import SSL

        self._context = context
        self._is_checked = context.get_verify_mode() != SSL.VERIFY_NONE
        self._hostname = _hostname(server_hostname, address, self._is_checked)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        from OpenSSL import SSL

        connection = SSL.Connection(self._context, None)
        if self._hostname and not _is_ip_address(self._hostname):
            connection.set_tlsext_host_name(self._hostname.encode("idna"))
        if self._is_checked:
            connection.set_verify(SSL.VERIFY_PEER, self._verifier(tlsProtocol))
        return connection

    def _verifier(self, tlsProtocol: Any) -> Callable[..., bool]:
        def verify(connection: Any, certificate: Any, error: int, depth: int, ok: bool) -> bool:
            if ok and depth == 0:
                try:
                    _verify_name(certificate.to_cryptography(), self._hostname or "")
                except Exception:
                    tlsProtocol.failVerification(Failure())
                    return False
            return ok

        return verify


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _verify_name(certificate: Any, hostname: str) -> None:
    from service_identity.cryptography import (
        verify_certificate_hostname,
        verify_certificate_ip_address,
    )

    if _is_ip_address(hostname):
        verify_certificate_ip_address(certificate, hostname)
    else:
        verify_certificate_hostname(certificate, hostname)
