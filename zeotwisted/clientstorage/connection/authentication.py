"""Proves the client's user name to a server, by SCRAM-SHA-256.

The password does not cross the wire. The server proves that it knows the account, so that a client
does not take another server for its own. With TLS, the proof is bound to the server's certificate.
"""

from __future__ import annotations

from typing import Any

from scramp import ScramClient, ScramException

from zeotwisted.access import BOUND, UNBOUND, channel_binding
from zeotwisted.exceptions import AccessDenied, UnrecognizedResult
from zeotwisted.protocol import AUTHENTICATE
from zeotwisted.transport import peer_certificate

from ..calls import ClientProtocol
from .credentials import Credentials

__all__ = ["authenticate"]

#: The largest number of times that a server may have the password hashed. That takes a second.
_MOST_ITERATIONS = 2_000_000


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
