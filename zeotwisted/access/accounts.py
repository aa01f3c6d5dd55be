"""Accounts: a file with the user names and SCRAM verifiers, which cannot be used to log in.

Each line is a user name, a colon, and a verifier in the form that PostgreSQL uses, too:
``SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY``, with the last three in base 64. The
password cannot be computed from a verifier, only guessed.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from scramp import ScramMechanism

from zeotwisted.files import replace_file

__all__ = [
    "AccountFile",
    "AccountFileError",
    "Accounts",
    "Verifier",
    "check_user",
    "is_readable_by_others",
    "read_accounts",
    "verifier",
    "write_accounts",
]

#: How often a password is hashed. It makes guesses from a stolen file slow. A client needs about
#: 30 milliseconds for it, each time that it connects.
ITERATIONS = 100_000

_MECHANISM = "SCRAM-SHA-256"
_VERIFIER = re.compile(rf"{_MECHANISM}\$([0-9]{{4,7}}):([^$:]+)\$([^$:]+):([^$:]+)")

#: User names have no blanks and no colons, and cannot be mistaken for options of commands.
_USER = re.compile(r"[^\s:,=#-][^\s:,=]{0,99}")


class Verifier(NamedTuple):
    """What a server needs to check a password with SCRAM-SHA-256, in the order of ``scramp``."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    def __str__(self) -> str:
        salt, stored, server = (base64.b64encode(part).decode() for part in self[:3])
        return f"{_MECHANISM}${self.iterations}:{salt}${stored}:{server}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Return the verifier that `text` is.

        :raises ValueError: it is none.
        """
        match = _VERIFIER.fullmatch(text)
        if match is None:
            raise ValueError("no SCRAM-SHA-256 verifier")
        iterations, *parts = match.groups()
        try:
            salt, stored, server = (base64.b64decode(part, validate=True) for part in parts)
        except binascii.Error:
            raise ValueError("no base 64") from None
        if len(salt) < 12 or len(stored) != 32 or len(server) != 32 or int(iterations) < 4096:
            raise ValueError("a part of the wrong length")
        return cls(salt, stored, server, int(iterations))


def verifier(password: str, iterations: int = ITERATIONS, salt: bytes | None = None) -> Verifier:
    """Return a verifier for a password.

    :param salt: by default, a new one.
    :raises scramp.ScramException: the password has characters that RFC 4013 forbids.
    """
    return Verifier(*ScramMechanism(_MECHANISM).make_auth_info(password, iterations, salt))


class Accounts(Protocol):
    """The users that a server knows. An application can have its own."""

    def lookup(self, user: str) -> Verifier | None:
        """Return the verifier of a user; None if there is no such user. It must not block."""


class AccountFileError(ValueError):
    """A file of accounts cannot be used; the text says why, and what to do."""


def read_accounts(path: str) -> dict[str, Verifier]:
    """Return the verifiers in a file, by user name.

    :raises AccountFileError: the file cannot be read, or has a mistake.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except UnicodeDecodeError:
        raise AccountFileError(f"{path} is not a file of accounts; check the path") from None
    except OSError as error:
        raise AccountFileError(
            f"{path}: {error.strerror}; check the path, or make it with zeotwisted user add"
        ) from None
    found: dict[str, Verifier] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, text = line.partition(":")
        try:
            if not colon:
                # The line may have a password in it, so do not show any of it.
                raise ValueError("no SCRAM-SHA-256 verifier")
            check_user(user)
            found[user] = Verifier.parse(text)
        except ValueError as error:
            raise AccountFileError(
                f"{path}, line {number}: {error}; remove the line, and use zeotwisted user add"
            ) from None
    return found


def check_user(user: str) -> str:
    """Return a user name, unchanged.

    :raises ValueError: it cannot be one.
    """
    if (
        not _USER.fullmatch(user)
        or not user.isprintable()
        # SCRAM changes such names, so nobody could log in by them.
        or unicodedata.normalize("NFKC", user) != user
    ):
        raise ValueError(
            f"{user[:100]!r} cannot be a user name: it has 1 to 100 usual characters, without "
            "blanks, colons, commas and equals signs"
        )
    return user


def write_accounts(path: str, accounts: Mapping[str, Verifier]) -> None:
    """Replace a file of accounts as a whole. Only its owner can read the new one.

    :raises OSError: the file cannot be written. The old one is unchanged.
    """
    lines = [f"{user}:{accounts[user]}\n" for user in sorted(accounts)]
    replace_file(path, "".join(lines).encode("utf-8"), 0o600)


def is_readable_by_others(path: str) -> bool:
    """Return whether other users of this machine can read the file."""
    return bool(os.stat(path).st_mode & (stat.S_IROTH | stat.S_IRGRP))


class AccountFile:
    """The `Accounts` of a file. It is read again when it has changed.

    A new file with a mistake is not used: the accounts stay what they were.

    :ivar problem: the mistake in the present file, or None.
    :raises AccountFileError: the file cannot be used.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: AccountFileError | None = None
        self._state = self._stat()
        self._accounts = read_accounts(path)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            state = os.stat(self.path)
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns

    def lookup(self, user: str) -> Verifier | None:
        """See `Accounts`."""
        state = self._stat()
        if state != self._state:
            self._state = state
            try:
                self._accounts = read_accounts(self.path)
                self.problem = None
            except AccountFileError as error:
                self.problem = error
        return self._accounts.get(user)
