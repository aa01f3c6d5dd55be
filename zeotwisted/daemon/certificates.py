"""Warns when the daemon's own certificate has expired, or is not valid yet.

Without the warning, only the clients report it: they refuse the connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from twisted.logger import Logger

__all__ = ["date_problem", "endpoint_files", "warn_of_dates"]

_log = Logger()

#: The arguments of an ``ssl:`` endpoint, whose values may contain escaped colons.
_ARGUMENT = re.compile(r":(certKey|privateKey)=((?:\\.|[^:\\])*)")


def endpoint_files(description: str) -> dict[str, str]:
    """Return the paths of an ``ssl:`` endpoint by argument: certKey (the certificate), privateKey.

    The dict is empty for other endpoints.
    """
    if not description.startswith("ssl:"):
        return {}
    files = {"privateKey": "server.pem"}
    for name, value in _ARGUMENT.findall(description):
        files[name] = re.sub(r"\\(.)", r"\1", value)
    return {"certKey": files["privateKey"]} | files


def first_certificate(file: str) -> bytes | None:
    """Return the first certificate in a file (DER), which is a server's own one; None without."""
    try:
        with open(file, "rb") as opened:
            certificate = x509.load_pem_x509_certificate(opened.read())
    except (OSError, ValueError):
        # The code that loads the certificate for TLS reports this error.
        return None
    return certificate.public_bytes(Encoding.DER)


def warn_of_dates(files: Iterable[str]) -> None:
    """Log a warning for each file whose certificate has expired, or is not valid yet."""
    now = datetime.now(timezone.utc)
    for file in files:
        problem = date_problem(file, now)
        if problem is not None:
            _log.warn("{problem}", problem=problem)


def date_problem(file: str, now: datetime) -> str | None:
    """Return what is wrong with the dates of a certificate, and the remedy; None if nothing is.

    :param file: the path of the certificate.
    :param now: the time at which it must be valid.
    """
    try:
        with open(file, "rb") as opened:
            certificate = crypto.load_certificate(crypto.FILETYPE_PEM, opened.read())
        begin, end = _date(certificate.get_notBefore()), _date(certificate.get_notAfter())
    except (OSError, ValueError, crypto.Error):
        # The code that loads the certificate for TLS reports this error.
        return None
    if end is not None and now > end:
        return (
            f"the certificate {file} has expired on {end:%Y-%m-%d %H:%M} UTC, so that clients "
            "refuse it; renew it and start the daemon again"
        )
    if begin is not None and now < begin:
        return (
            f"the certificate {file} is not valid before {begin:%Y-%m-%d %H:%M} UTC, so that "
            "clients refuse it; check the clock, or use another certificate"
        )
    return None


def _date(text: bytes | None) -> datetime | None:
    if text is None:
        return None
    return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
