"""What counts as one address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

__all__ = ["LOCAL", "host_of", "neighbourhood"]

#: The host of clients that use a Unix socket.
LOCAL = "this machine"

#: Who has an IPv6 address usually has all addresses with the same first 64 bits.
_IPV6_PREFIX = 64


def host_of(address: Any) -> str:
    """Return the host of an address of Twisted's, or `LOCAL`."""
    return getattr(address, "host", None) or LOCAL


def neighbourhood(host: str) -> str:
    """Return what to count connections by: a host, or the network of an IPv6 address."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _IPV6_PREFIX), strict=False))
