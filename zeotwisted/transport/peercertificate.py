"""The certificate that the other end of a connection has shown."""

from __future__ import annotations

from typing import Any

from .tls import TLSTransport

__all__ = ["peer_certificate"]


def peer_certificate(transport: Any) -> bytes | None:
    """Return the verified certificate of the peer (DER); None without TLS or without one.

    Call this when data has arrived: the certificate is verified by then.
    """
    if isinstance(transport, TLSTransport):
        return transport.peer_certificate()
    get = getattr(transport, "getPeerCertificate", None)
    if get is None or not _verifies(transport):
        return None
    certificate = get()
    if certificate is None:
        return None
    # Twisted's TLS uses pyOpenSSL.
    from cryptography.hazmat.primitives.serialization import Encoding

    der: bytes = certificate.to_cryptography().public_bytes(Encoding.DER)
    return der


def _verifies(transport: Any) -> bool:
    """Return whether Twisted's TLS refuses certificates that are not valid."""
    from OpenSSL import SSL

    mode: int = transport.getHandle().get_context().get_verify_mode()
    return mode != SSL.VERIFY_NONE
