"""Says which places where a daemon listens are open doors."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from twisted.internet.interfaces import IStreamServerEndpoint

from zeotwisted.access import OPEN, Access
from zeotwisted.protocol import Role

__all__ = ["Place", "endpoint_host", "exposed", "exposed_http"]

#: The interface in the description of an endpoint; its colons are escaped.
_INTERFACE = re.compile(r":interface=((?:\\.|[^:\\])*)")


class Place(NamedTuple):
    """A place where the daemon listens."""

    #: The name of the place in messages.
    description: str
    endpoint: IStreamServerEndpoint
    #: The roles of clients there; None for those of the daemon.
    access: Access | None = None
    #: The network address, empty for all; None if the place is no network address, or not known.
    host: str | None = None
    #: Whether only clients with a certificate are admitted.
    needs_certificate: bool = False


def endpoint_host(description: str) -> str | None:
    """Return where a Twisted endpoint listens: a host, or empty for all interfaces.

    None if it is not known, or if it is no network address.
    """
    if description.partition(":")[0] not in ("tcp", "tcp6", "ssl"):
        return None
    interface = _INTERFACE.search(description)
    return "" if interface is None else re.sub(r"\\(.)", r"\1", interface[1])


def exposed(place: Place, access: Access | None) -> str | None:
    """Return a warning if other machines reach a place, and need no identity; None otherwise.

    :param access: the roles of clients that apply where a place has none.
    """
    if place.host is None or _is_local(place.host):
        return None
    roles = place.access or access or OPEN
    if place.needs_certificate or not roles.everybody_may(Role.WRITE):
        return None
    return (
        f"{place.description} is an open door: a client there needs neither a certificate nor an "
        "account, and may read, change and delete data; add <ssl> or <access> sections, or "
        "listen at 127.0.0.1"
    )


def exposed_http(place: Place, access: Access | None) -> str | None:
    """Return a warning if everybody on other machines sees the figures; None otherwise."""
    if place.host is None or _is_local(place.host):
        return None
    roles = place.access or access or OPEN
    if place.needs_certificate or not roles.everybody_may(Role.READ):
        return None
    return (
        f"http at {place.description} is open: everybody who reaches it sees the figures of the "
        "daemon; add <ssl> or <access> sections, or listen at 127.0.0.1"
    )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
