"""Parses the address of a server, and refuses values that can never be an address."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from .rules import ArgumentError, shown

__all__ = [
    "LONGEST_PATH",
    "Address",
    "check_host",
    "check_socket_path",
    "describe",
    "parse_address",
]

#: A host and a port, or the path of a Unix socket.
Address: TypeAlias = "tuple[str, int] | str"

#: The longest path of a Unix socket, in bytes: the size of sun_path without the final null byte.
LONGEST_PATH = 107 if sys.platform.startswith("linux") else 103

#: The beginning of each error message.
_WHAT = "addr is not the address of a server"

_FORMS = "write a (host, port) pair, a port, the path of a Unix socket, or a list of such"

#: The beginning of an endpoint's description, or of a URI.
_ENDPOINT = re.compile(r"(?:tcp[46]?|ssl|tls|unix):|[a-z][a-z0-9+.]*://")

_HOST_AND_PORT = re.compile(r"\[?([^/\[\]]*?)\]?:(\d{1,5})")


def parse_address(addr: Any) -> list[Address]:
    """Return the list of addresses that `addr` means, in any of the forms that ZEO accepts.

    :param addr: a port on this machine, a ``(host, port)`` pair, the path of a Unix socket, or a
        list of such.
    :raises ArgumentError: it is none of them, or no server can ever have this address.
    """
    if not isinstance(addr, Iterable) or _is_single(addr):
        return [_one(addr)]
    if isinstance(addr, tuple) and len(addr) == 2 and isinstance(addr[0], str):
        _refuse_port_as_text(*addr)
    addresses = [_one(_item(item)) for item in addr]
    if not addresses:
        raise ArgumentError(f"{_WHAT}: the list is empty; {_FORMS}")
    return addresses


def _item(item: Any) -> Any:
    """Convert an item of a list: there ZEO also accepts bytes as a path, and None as the host."""
    if isinstance(item, bytes):
        return os.fsdecode(item)
    if isinstance(item, tuple) and len(item) == 2 and item[0] is None:
        return "", item[1]
    return item


def _is_single(addr: Any) -> bool:
    return isinstance(addr, (str, bytes, bytearray, os.PathLike, Mapping)) or _is_pair(addr)


def _is_pair(addr: Any) -> bool:
    """Return whether `addr` is meant as a pair of host and port. A tuple of two paths is a list."""
    return (
        isinstance(addr, tuple)
        and len(addr) >= 2
        and not isinstance(addr[1], (str, os.PathLike, tuple))
        and not (isinstance(addr[0], (int, tuple)) or addr[0] is None)
    )


def _refuse_port_as_text(host: str, port: Any) -> None:
    if isinstance(port, str) and port.strip().isdecimal():
        raise ArgumentError(
            f"{_WHAT}: the port {port!r} is a text; write ({host!r}, {int(port.strip())})"
        )


def _one(addr: Any) -> Address:
    if isinstance(addr, int) and not isinstance(addr, bool):
        return "127.0.0.1", _port("127.0.0.1", addr)
    if isinstance(addr, os.PathLike):
        addr = os.fspath(addr)
    if isinstance(addr, (bytes, bytearray)):
        raise ArgumentError(f"{_WHAT}: {addr!r} is not a text; write {os.fsdecode(bytes(addr))!r}")
    if isinstance(addr, str):
        _refuse_host_as_path(addr)
        check_socket_path(addr)
        return addr
    if _is_pair(addr):
        if len(addr) != 2:
            raise ArgumentError(f"{_WHAT}: {shown(addr)} has too many parts; write {addr[:2]!r}")
        host, port = addr
        if isinstance(host, bytes):
            raise ArgumentError(
                f"{_WHAT}: the host {host!r} is not a text; write ({os.fsdecode(host)!r}, {port!r})"
            )
        if isinstance(host, str):
            port = _port(host, port)
            check_host(host, port)
            return host or "127.0.0.1", port
    if isinstance(addr, tuple) and len(addr) == 2 and isinstance(addr[0], str):
        _refuse_port_as_text(*addr)
    raise ArgumentError(f"{_WHAT}: {shown(addr)}; {_FORMS}")


def _port(host: str, port: Any) -> int:
    if isinstance(port, float) and port.is_integer() and 0 < port < 65536:
        raise ArgumentError(
            f"{_WHAT}: the port {port!r} is not a whole number; write ({host!r}, {int(port)})"
        )
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ArgumentError(
            f"{_WHAT}: {shown(port)} is no port; write a number from 1 to 65535, as "
            f"in ({host!r}, 8100)"
        )
    return int(port)


def check_host(host: str, port: int) -> None:
    """Check that a host can have this name.

    :param port: is used in the error message.
    :raises ArgumentError: no host can have this name.
    """
    with_port = _HOST_AND_PORT.fullmatch(host)
    if with_port is not None and not _is_ip_address(host):
        raise ArgumentError(
            f"{_WHAT}: the host {host!r} has a port in it; write "
            f"({with_port[1]!r}, {int(with_port[2])})"
        )
    inner = host.strip().removeprefix("[").removesuffix("]")
    if inner != host:
        raise ArgumentError(
            f"{_WHAT}: the host {host!r} has a blank or a bracket at an end; "
            f"write ({inner!r}, {port})"
        )
    try:
        host.encode("idna")
        possible = not re.search(r"[\s/*\x00-\x1f\x7f]", host)
    except UnicodeError:
        possible = False
    if not possible:
        raise ArgumentError(
            f"{_WHAT}: {shown(host)} cannot be the name of a host; write a name or an IP address, "
            f"as in ('zeo.example.com', {port})"
        )


def _refuse_host_as_path(path: str) -> None:
    """Refuse a string that is a host, a port, or both.

    Without this check, the string would be used as the path of a Unix socket.
    """
    if _ENDPOINT.match(path):
        raise ArgumentError(
            f"{_WHAT}: {shown(path)} is an endpoint's description or a URI; {_FORMS}, such as "
            "('127.0.0.1', 8100) or '/run/zeo.sock'"
        )
    with_port = _HOST_AND_PORT.fullmatch(path)
    if _is_ip_address(path) or path == "localhost":
        raise ArgumentError(
            f"{_WHAT}: {path!r} is a host without a port; write the two as one argument, a pair: "
            f"({path!r}, 8100)"
        )
    if with_port is not None:
        raise ArgumentError(
            f"{_WHAT}: {path!r} is not the path of a Unix socket; write "
            f"({with_port[1] or '127.0.0.1'!r}, {int(with_port[2])})"
        )
    if path.strip().isdecimal():
        raise ArgumentError(f"{_WHAT}: the port {path!r} is a text; write {int(path)}")


def check_socket_path(path: str) -> None:
    """Check that a Unix socket can be at `path`.

    :raises ArgumentError: it cannot.
    """
    # Linux has sockets without a file, whose names begin with a null character.
    name = path.removeprefix("\0") if sys.platform.startswith("linux") else path
    try:
        length = len(os.fsencode(name))
    except UnicodeError:
        length = 0
    if not length or ("\0" in name and name == path):
        raise ArgumentError(f"{_WHAT}: {shown(path)} cannot be the path of a Unix socket; {_FORMS}")
    if length > LONGEST_PATH:
        raise ArgumentError(
            f"{_WHAT}: the path of a Unix socket has {LONGEST_PATH} bytes at most, and {path} has "
            f"{length}; choose a shorter one, such as /run/zeo.sock"
        )


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def describe(address: Address) -> str:
    """Return the address as users write it, for example ``[::1]:8100``."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
