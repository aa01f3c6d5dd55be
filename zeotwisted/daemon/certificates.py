"""Warns when a certificate has expired, expires soon, or is not valid yet.

Without the warning, only the clients report it: they refuse the connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

__all__ = [
    "date_problem",
    "endpoint_files",
    "first_certificate",
    "trusted_problems",
    "warn_of_dates",
    "warn_of_trusted_dates",
]

_log = Logger()

#: How long before a certificate expires the daemon warns.
_SOON = timedelta(days=30)

#: The arguments of an ``ssl:`` endpoint, whose values may contain escaped colons.
_ARGUMENT = re.compile(r":(certKey|privateKey|extraCertChain|dhParameters)=((?:\\.|[^:\\])*)")


def endpoint_files(description: str) -> dict[str, str]:
    """Return the paths of an ``ssl:`` endpoint by argument: certKey (the certificate), privateKey,
    and extraCertChain and dhParameters if the description has them.

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
    for certificate in _certificates(file)[:1]:
        return certificate.public_bytes(Encoding.DER)
    return None


def warn_of_dates(files: Iterable[str]) -> None:
    """Log a warning for each of the daemon's own certificates with a problem, see `date_problem`.

    Of one that is good, log the date at which it expires.
    """
    now = datetime.now(timezone.utc)
    for file in files:
        problem = date_problem(file, now)
        if problem is not None:
            _log.warn("{problem}", problem=problem)
            continue
        for certificate in _certificates(file)[:1]:
            _log.info(
                "the certificate {file} expires on {end:%Y-%m-%d}",
                file=file,
                end=certificate.not_valid_after_utc,
            )


def warn_of_trusted_dates(files: Iterable[str]) -> None:
    """Log a warning for each certificate in `files` with a problem, see `trusted_problems`."""
    now = datetime.now(timezone.utc)
    for file in files:
        for problem in trusted_problems(file, now):
            _log.warn("{problem}", problem=problem)


def date_problem(file: str, now: datetime) -> str | None:
    """Return what is wrong with the dates of a certificate, and the remedy; None if nothing is.

    :param file: the path of the certificate.
    :param now: the time at which it must be valid, and for 30 days more.
    """
    for certificate in _certificates(file)[:1]:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now > end:
            return (
                f"the certificate {file} has expired on {end:%Y-%m-%d %H:%M} UTC, so that clients "
                f"refuse it; renew it"
            )
        if now < begin:
            return (
                f"the certificate {file} is not valid before {begin:%Y-%m-%d %H:%M} UTC, so that "
                "clients refuse it; check the clock, or use another certificate"
            )
        if end - now < _SOON:
            return (
                f"the certificate {file} expires in {(end - now).days} days, on "
                f"{end:%Y-%m-%d %H:%M} UTC; clients refuse it then; renew it"
            )
    return None


def trusted_problems(file: str, now: datetime) -> list[str]:
    """Return what is wrong with the dates of the certificates by which clients are checked.

    :param file: the path of a file with any number of certificates.
    """
    problems = []
    for certificate in _certificates(file):
        end = certificate.not_valid_after_utc
        name = certificate.subject.rfc4514_string()
        if now > end:
            problems.append(
                f"the certificate of {name} in {file} has expired on {end:%Y-%m-%d %H:%M} UTC, so "
                "that the clients that need it are refused; renew it"
            )
        elif end - now < _SOON:
            problems.append(
                f"the certificate of {name} in {file} expires in {(end - now).days} days, on "
                f"{end:%Y-%m-%d %H:%M} UTC; the clients that need it are refused then; renew it"
            )
    return problems


def _certificates(file: str) -> list[x509.Certificate]:
    """Return the certificates in a file; none if it cannot be read.

    The code that loads the certificates for TLS reports such an error.
    """
    try:
        with open(file, "rb") as opened:
            return x509.load_pem_x509_certificates(opened.read())
    except (OSError, ValueError):
        return []
