"""The certificates of the two ends of a connection, with our TLS and with Twisted's."""

from __future__ import annotations

from typing import Any

from .tls import TLSTransport

__all__ = ["own_certificate", "peer_certificate"]


def peer_certificate(transport: Any, verified: bool = True) -> bytes | None:
    """Return the certificate of the peer (DER); None without TLS or without a certificate.

    Call this when data has arrived: the handshake is over by then.

    :param verified: return it only if this end refuses certificates that are not valid.
    """
    if isinstance(transport, TLSTransport):
        return transport.peer_certificate() if transport.verifies or not verified else None
    get = getattr(transport, "getPeerCertificate", None)
    if get is None or (verified and not _verifies(transport)):
        return None
    return _der(get())


def own_certificate(transport: Any) -> bytes | None:
    """Return the certificate of this end (DER); None without TLS, or if it is not known."""
    if isinstance(transport, TLSTransport):
        return transport.certificate
    if getattr(transport, "getPeerCertificate", None) is None:
        return None
    return _der(transport.getHandle().get_certificate())


def _der(certificate: Any) -> bytes | None:
    """Return a certificate of pyOpenSSL, which Twisted's TLS uses, in the encoding DER."""
    if certificate is None:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    der: bytes = certificate.to_cryptography().public_bytes(Encoding.DER)
    return der


def _verifies(transport: Any) -> bool:
    """Return whether Twisted's TLS refuses certificates that are not valid."""
    from OpenSSL import SSL

    mode: int = transport.getHandle().get_context().get_verify_mode()
    return mode != SSL.VERIFY_NONE
