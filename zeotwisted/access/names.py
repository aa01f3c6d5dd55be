"""The names that a configuration gives roles to, such as ``user:anna`` or ``unix-user:zope``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable

__all__ = ["EVERYBODY", "parse_name", "parse_names"]

#: All clients have this name.
EVERYBODY = "everybody"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

_EXPECTED = (
    "write user:NAME, certificate:COMMON-NAME, subject:DISTINGUISHED-NAME, fingerprint:SHA-256, "
    "unix-user:NAME, unix-group:NAME, group:NAME or everybody"
)


def _unchanged(value: str) -> str:
    return value


def _fingerprint(value: str) -> str:
    digits = value.replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError(
            f"fingerprint:{value} is not a SHA-256 fingerprint of 64 hexadecimal digits; "
            "openssl x509 -noout -fingerprint -sha256 -in FILE prints it"
        )
    return digits


#: The kinds of names. The function returns the form in which names are compared.
KINDS: dict[str, Callable[[str], str]] = {
    # The user name of an account.
    "user": _unchanged,
    # The common name in the subject of a certificate.
    "certificate": _unchanged,
    # The whole subject of a certificate, in the form of RFC 4514.
    "subject": _unchanged,
    "fingerprint": _fingerprint,
    # The user or a group of the process at the other end of a Unix socket.
    "unix-user": _unchanged,
    "unix-group": _unchanged,
    # A group that the configuration defines.
    "group": _unchanged,
}


def parse_name(text: str) -> str:
    """Return a name in the form in which names are compared.

    :raises ValueError: it is not a name; the text says what to write instead.
    """
    kind, separator, value = text.partition(":")
    if text == EVERYBODY:
        return text
    if not separator or not value or kind not in KINDS:
        raise ValueError(f"{text!r} is not a name of clients; {_EXPECTED}")
    return f"{kind}:{KINDS[kind](value)}"


def parse_names(text: str) -> frozenset[str]:
    """Return the names in `text`. Blanks separate them; one with blanks is in quotation marks.

    :raises ValueError: one of them is not a name; the text says what to write instead.
    """
    try:
        words: Iterable[str] = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {str(error).lower()}; close each quotation mark") from None
    return frozenset(map(parse_name, words))
