"""Who a visitor is, and what he may see and do."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from twisted.internet.address import UNIXAddress

from zeotwisted.access import OPEN, Access, Identity
from zeotwisted.protocol import Role
from zeotwisted.storageserver import peer_identity
from zeotwisted.transport import bottom

from .passwords import Busy, Passwords

__all__ = ["Refused", "Visitor", "Visitors"]

#: Headers by which a proxy says that a visitor is somewhere else.
_FORWARDED = (b"forwarded", b"x-forwarded-for", b"via")


class Refused(Exception):
    """A visitor may not have what he wants.

    :ivar status: of HTTP.
    :ivar asks: whether to ask for user name and password.
    """

    def __init__(self, status: int, reason: str, asks: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.asks = asks


@dataclass(frozen=True)
class Visitor:
    """Somebody who has proved what he can.

    :ivar seen: the storages whose figures he may see.
    :ivar administered: those whose clients he may see and disconnect.
    :ivar everything: whether he administers all of them, and may see what concerns the whole
        server.
    """

    identity: Identity
    seen: frozenset[str]
    administered: frozenset[str]
    everything: bool


class Visitors:
    """Finds out who visitors are.

    :param names: the server's names, besides those that it knows by itself.
    :param passwords: checks passwords of accounts; None if there are none.
    """

    def __init__(
        self, access: Access | None, names: Iterable[str], passwords: Passwords | None
    ) -> None:
        self._access = access or OPEN
        own = {socket.gethostname().lower(), "localhost"}
        self._names = own | {name.lower() for name in names}
        self._passwords = passwords
        self._secret = secrets.token_bytes(32)

    def check_host(self, request: Any) -> None:
        """Check that the visitor's browser means this server.

        A page of somebody else's can have its own name lead to 127.0.0.1, and would then be allowed
        to read what it gets from here. It cannot do that with an IP address.

        :raises Refused: the name is not one of this server's.
        """
        hosts = request.requestHeaders.getRawHeaders(b"host") or []
        name = hosts[0].decode("latin-1").lower() if len(hosts) == 1 else ""
        if not name or not self._is_ours(_without_port(name)):
            raise Refused(
                421, "this server does not have that name; use its IP address, or add http names"
            )

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    async def of(self, request: Any, storages: Iterable[str]) -> Visitor:
        """Return who a visitor is.

        :param storages: the names of the storages that are served.
        :raises Refused: he has to prove more.
        """
        below = request.transport.transport
        identity = peer_identity(below)
        # TLS lies between HTTP and the socket.
        is_private = _is_local(request) or bottom(below) is not below
        if self._passwords is not None and request.requestHeaders.hasHeader(b"authorization"):
            if not is_private:
                raise Refused(403, "a password is not accepted without TLS")
            user, password = _credentials(request)
            try:
                is_right = await self._passwords.are_right(user, password, request.transport.host)
            except Busy:
                raise Refused(503, "too many log in at the same time; come back later") from None
            if not is_right:
                raise Refused(401, "wrong user name or password", asks=True)
            identity = identity.joined(Identity.of(f"user:{user}"))
        visitor = self._visitor(identity, _is_local(request), frozenset(storages))
        if not visitor.seen and not visitor.everything:
            if identity.is_anonymous and self._passwords is not None and is_private:
                raise Refused(401, "user name and password are needed", asks=True)
            raise Refused(403, f"{identity.label} has no role here")
        return visitor

    def _visitor(self, identity: Identity, is_local: bool, storages: frozenset[str]) -> Visitor:
        roles = {name: self._access.roles(identity, name) for name in storages}
        seen = {name for name, given in roles.items() if Role.READ in given}
        administered: frozenset[str] = frozenset()
        if is_local or not identity.is_anonymous:
            administered = frozenset(
                name for name, given in roles.items() if Role.ADMINISTER in given
            )
        return Visitor(identity, frozenset(seen), administered, administered == storages)

    def token(self, visitor: Visitor) -> str:
        """Return what a form has to have that this server has sent to the visitor."""
        who = "\n".join(sorted(visitor.identity.names)).encode()
        return hmac.digest(self._secret, who, sha256).hex()

    def check_form(self, request: Any, visitor: Visitor) -> None:
        """Check that a form comes from a page of ours.

        :raises Refused: it does not.
        """
        given = request.args.get(b"token", [b""])[0]
        site = request.requestHeaders.getRawHeaders(b"sec-fetch-site", [b"same-origin"])[0]
        right = self.token(visitor).encode()
        if site != b"same-origin" or not hmac.compare_digest(given, right):
            raise Refused(403, "this form is not from here, or is too old; load the page again")


def _without_port(name: str) -> str:
    host, _, port = name.rpartition(":")
    return host if host and port.isdigit() and (host[-1] == "]" or ":" not in host) else name


def _is_local(request: Any) -> bool:
    """Return whether the visitor is a process of this machine, and no proxy of others."""
    if any(request.requestHeaders.hasHeader(name) for name in _FORWARDED):
        return False
    peer = request.getClientAddress()
    if isinstance(peer, UNIXAddress):
        return True
    try:
        address = ipaddress.ip_address(getattr(peer, "host", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _credentials(request: Any) -> tuple[str, str]:
    (header, *_) = request.requestHeaders.getRawHeaders(b"authorization")
    kind, _, text = header.partition(b" ")
    try:
        if kind.lower() != b"basic":
            raise ValueError
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise Refused(401, "write user name and password", asks=True) from None
    if not colon or len(user) > 100 or len(password) > 1000:
        raise Refused(401, "write user name and password", asks=True)
    return user, password
