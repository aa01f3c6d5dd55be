"""The user name of a client, and where its password is."""

from __future__ import annotations

import os
from dataclasses import dataclass

from zeotwisted.arguments import ArgumentError
from zeotwisted.exceptions import AccessDenied

__all__ = ["PASSWORD_VARIABLE", "Credentials", "credentials_from"]

#: The environment variable with the password, if neither a password nor a file is given.
PASSWORD_VARIABLE = "ZEO_PASSWORD"


@dataclass(frozen=True)
class Credentials:
    """A user name, and where its password is.

    :ivar password: the password; None if it is in `password_file` or in the environment.
    :ivar realm: the name that the server's accounts must have, if they have one; empty for any.
    """

    username: str
    password: str | None = None
    password_file: str | None = None
    realm: str = ""

    def __repr__(self) -> str:
        return f"<Credentials of {self.username!r}>"

    def read_password(self) -> str:
        """Return the password. A file is read each time, as it may have changed.

        :raises AccessDenied: there is none.
        """
        if self.password is not None:
            return self.password
        if self.password_file is None:
            password = os.environ.get(PASSWORD_VARIABLE)
            if password is None:
                raise AccessDenied(
                    f"there is no password for {self.username!r}; give password or password_file, "
                    f"or set {PASSWORD_VARIABLE}"
                )
            return password
        try:
            with open(self.password_file, encoding="utf-8") as file:
                return file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise AccessDenied(
                f"{self.password_file}: {reason}; check password_file, which has the password"
            ) from None


def credentials_from(
    username: str | None, password: str | None, password_file: str | None, realm: str | None
) -> Credentials | None:
    """Return the credentials in the arguments of a client; None without a user name.

    :raises ValueError: the arguments do not fit. The message does not have the password.
    """
    if not username:
        if password or password_file:
            raise ValueError("a password is of no use without username; add it, or leave it out")
        return None
    if password and password_file:
        raise ValueError("password and password_file cannot be given together; leave one out")
    if not isinstance(username, str) or not isinstance(password or "", str):
        raise ArgumentError("username and password: write texts, such as 'zope'")
    return Credentials(
        username,
        password or None,
        None if password_file is None else os.path.abspath(os.fspath(password_file)),
        realm or "",
    )
