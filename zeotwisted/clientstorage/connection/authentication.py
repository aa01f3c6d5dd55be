"""Proves the client's user name to a server, by SCRAM-SHA-256.

The password does not cross the wire. The server proves that it knows the account, so that a client
does not take another server for its own. With TLS, the proof is bound to the server's certificate.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from scramp import ScramClient, ScramException

from zeotwisted.access import BOUND, UNBOUND, channel_binding
from zeotwisted.arguments import ArgumentError
from zeotwisted.exceptions import AccessDenied, UnrecognizedResult
from zeotwisted.protocol import AUTHENTICATE
from zeotwisted.transport import peer_certificate

from ..calls import ClientProtocol

__all__ = ["PASSWORD_VARIABLE", "Credentials", "authenticate", "credentials_from"]

#: The environment variable with the password, if neither a password nor a file is given.
PASSWORD_VARIABLE = "ZEO_PASSWORD"

#: The largest number of times that a server may have the password hashed. That takes a second.
_MOST_ITERATIONS = 2_000_000


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


async def authenticate(protocol: ClientProtocol, credentials: Credentials) -> None:
    """Prove the user name to the server, if it has accounts.

    :raises AccessDenied: the server refuses, or cannot prove that it knows the account.
    """
    offered = protocol.capabilities.get(AUTHENTICATE)
    if offered is None:
        return
    realm = offered.get("realm")
    # Existing configurations have a realm, and a server need not have one.
    if realm and credentials.realm and realm != credentials.realm:
        raise AccessDenied(
            f"the server's realm is {realm!r}, not {credentials.realm!r}; correct realm, or the "
            "address of the server"
        )
    known = offered.get("mechanisms")
    usable = [name for name in (UNBOUND, BOUND) if name in _names(known)]
    if not usable:
        raise UnrecognizedResult("capabilities", offered)
    binding = channel_binding(peer_certificate(protocol.transport, verified=False))
    password = credentials.read_password()
    try:
        scram = ScramClient(usable, credentials.username, password, binding)
    except ScramException as error:
        raise AccessDenied(f"the user name or password cannot be used: {error}") from None
    first = scram.get_client_first()
    challenge = await protocol.request("authenticate", scram.mechanism_name, first)
    try:
        scram.set_server_first(challenge)
        if int(scram.iterations) > _MOST_ITERATIONS:
            raise UnrecognizedResult("authenticate", challenge)
        final = scram.get_client_final()
    except ScramException:
        raise UnrecognizedResult("authenticate", challenge) from None
    proof = await protocol.request("authenticate_final", final)
    try:
        scram.set_server_final(proof)
    except ScramException:
        raise AccessDenied(
            "the server does not know this account, although it says so; is it the right server?"
        ) from None


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if type(value) is tuple else []
