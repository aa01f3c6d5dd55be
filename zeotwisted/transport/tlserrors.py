"""Explains TLS errors to the administrator who has to correct the configuration."""

from __future__ import annotations

import ssl
from typing import Any

from zeotwisted.exceptions import ClientDisconnected

__all__ = ["HandshakeError", "explain", "handshake_error"]


class HandshakeError(ClientDisconnected):
    """The two ends of a connection do not agree on TLS. Another attempt does not help."""

    def __str__(self) -> str:
        return f"TLS handshake failed: {super().__str__()}"


_NO_TLS = "what the {peer} sent is not TLS; is it a {peer} without TLS?"
_NO_VERSION = "{peer} and {self} have no version of TLS in common"
_NO_CERTIFICATE = "the client has no certificate that the server asks for, or does not show it"

_NOT_VERIFIED = (
    "the certificate of the {peer} is not accepted: it is not signed by an authority "
    "that the {self} trusts, or it has expired"
)

#: OpenSSL's reasons that need an explanation.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "BAD_RECORD_TYPE": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_VERSION,
    "VERSION_TOO_LOW": _NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "CERTIFICATE_VERIFY_FAILED": _NOT_VERIFIED,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": _NO_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": "the {peer} does not know who signed the certificate of the {self}",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the {peer} says that the certificate of the {self} has "
    "expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the {peer} says that the certificate of the {self} is "
    "revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the {peer} does not accept the certificate of the {self}; it "
    "may be for another host",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the {peer} does not accept the certificate of the {self}",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the {peer} says that the certificate of the {self} is "
    "for another purpose",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the {peer} refuses: handshake failure (without a certificate "
    "of the {self} that it asks for, or ciphers in common)",
}


def explain(error: BaseException, is_server: bool) -> str:
    """Return why TLS failed, as one line without a full stop.

    :param error: an `ssl.SSLError`, or an exception of pyOpenSSL or service-identity.
    :param is_server: True at the server, False at the client.
    """
    peer, self = ("client", "server") if is_server else ("server", "client")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_accepted(peer, error.verify_message)
    reason = getattr(error, "reason", None) or _last_reason(error)
    if reason is None:
        return str(error) or type(error).__name__
    text = _REASONS.get(reason.upper().replace(" ", "_"))
    if text is None:
        return reason.lower().replace("_", " ")
    return text.format(peer=peer, self=self)


def _not_accepted(peer: str, why: str) -> str:
    return f"the certificate of the {peer} is not accepted: {why.rstrip('.')}"


def _last_reason(error: Any) -> str | None:
    """Return the reason from an error of pyOpenSSL, which is a list of (library, function, reason).

    None if there is no reason in it.
    """
    try:
        reason = error.args[0][-1][2]
    except (IndexError, TypeError):
        return None
    return reason if isinstance(reason, str) else None


def handshake_error(error: BaseException | None, is_server: bool) -> HandshakeError | None:
    """Return the `HandshakeError` for the error that ended a connection; None if it is not TLS's.

    Twisted's own TLS passes on the exceptions of pyOpenSSL and service-identity.
    """
    if error is None or isinstance(error, HandshakeError):
        return error
    module = type(error).__module__.partition(".")[0]
    if module == "service_identity":
        names = ", ".join(_names(error)) or "the host that was meant"
        return HandshakeError(_not_accepted("server", f"it is not for {names}"))
    if module == "OpenSSL":
        return HandshakeError(explain(error, is_server))
    return None


def _names(error: Any) -> list[str]:
    ids = [getattr(mismatch, "mismatched_id", None) for mismatch in getattr(error, "errors", ())]
    names = [getattr(id, "hostname", None) or getattr(id, "ip", None) for id in ids]
    return [
        name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
        for name in names
        if name is not None
    ]
