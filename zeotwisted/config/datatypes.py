"""The data types of keys: functions that convert a text to a value, or raise ValueError.

The messages of these errors end with what to write instead. `loader` adds file and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ZConfig import datatypes

from zeotwisted.access import parse_names
from zeotwisted.arguments import (
    LONGEST_PATH,
    Address,
    ArgumentError,
    PassedSocket,
    check_host,
    check_socket_path,
    parse_passed_socket,
)
from zeotwisted.protocol import MAX_FRAME

from .loglevels import parse_levels

__all__ = [
    "Address",
    "age",
    "at_stop",
    "auto_or_boolean",
    "binding_address",
    "cache_size",
    "class_names",
    "client_names",
    "connection_address",
    "count",
    "duration",
    "duration_or_none",
    "group_or_boolean",
    "host_names",
    "local_address",
    "log_levels",
    "memory_size",
    "message_size",
    "protocol_version",
    "queue_bytes",
    "queue_size",
    "seconds",
    "silence",
    "timeout",
]

#: Characters that no name and no address of a host contains.
_NO_HOST = re.compile(r"""[\s="'<>]""")

_HOST_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")

#: An IPv6 address without brackets, followed by something that looks like a port.
_BARE_IPV6 = re.compile("[0-9a-f]*:[0-9a-f:.]*:[0-9]{2,5}", re.IGNORECASE)

#: Clients send blobs in chunks of about this size. With a smaller limit, they cannot store blobs.
SMALLEST_MESSAGE_LIMIT = 2**16

#: How many characters the name of a group of clients may have.
_LONGEST_GROUP = 100


def binding_address(text: str) -> Address | PassedSocket:
    """Return the address to listen at, or the socket of systemd's.

    Without a host, the server listens at all interfaces.

    :raises ValueError: `text` is not an address.
    """
    try:
        passed = parse_passed_socket(text)
    except ArgumentError as error:
        raise ValueError(f"{text!r}: {error}") from None
    if passed is not None:
        return passed
    return _address(datatypes.SocketBindingAddress, text)


def local_address(text: str) -> Address | PassedSocket:
    """Return the address to listen at, as `binding_address`; without a host, only this machine's.

    :raises ValueError: `text` is not an address.
    """
    address = binding_address(text)
    if isinstance(address, tuple) and not address[0]:
        return "127.0.0.1", address[1]
    return address


def host_names(text: str) -> frozenset[str]:
    """Return names of a server, in small letters.

    :raises ValueError: one of them is not the name of a host.
    """
    names = frozenset(text.lower().replace(",", " ").split())
    for name in sorted(names):
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a host; write it without port and path")
    return names


def connection_address(text: str) -> Address:
    """Return the address to connect to; without a host, it is this machine.

    :raises ValueError: `text` is not the address of a server.
    """
    address = _address(datatypes.SocketConnectionAddress, text)
    if address[1] == 0:
        raise ValueError(f"{text!r} is not the address of a server; write a port from 1 to 65535")
    return address


def client_names(text: str) -> frozenset[str]:
    """Return names of clients, see `zeotwisted.access.names`.

    :raises ValueError: one of them is not a name.
    """
    return parse_names(text)


def _address(parse: type, text: str) -> Address:
    try:
        address = parse(text).address
    except ValueError:
        address = None
    if isinstance(address, str) and "://" in address:
        scheme, _, place = address.partition("://")
        raise ValueError(f"{text!r} is not an address; write it without {scheme}://, as in {place}")
    # Refuse a host without a port: it is an incomplete address, or a path without a slash. A server
    # would listen at a port that no client knows.
    if isinstance(address, str):
        try:
            check_socket_path(address)
        except ArgumentError:
            raise ValueError(
                f"{text!r} cannot be the path of a Unix socket; "
                f"write one of at most {LONGEST_PATH} bytes"
            ) from None
        return address
    if address is not None and address[1] is not None and _may_be_host(*address):
        return address
    if _BARE_IPV6.fullmatch(text):
        raise ValueError(
            f"{text!r} is not an address; write an IPv6 address in brackets, as in [::1]:8100"
        )
    raise ValueError(
        f"{text!r} is not an address; "
        "write host:port, or a port from 0 to 65535, or a path with a slash in it"
    )


def _may_be_host(host: str, port: int) -> bool:
    if host and _NO_HOST.search(host):
        return False
    try:
        check_host(host, port)
    except ArgumentError:
        return False
    return True


def queue_size(text: str) -> int:
    number = _number(int, text)
    if number is None or number < 1:
        raise ValueError(f"{text!r} is not a queue size; write a whole number from 1 upwards")
    return int(number)


def count(text: str) -> int:
    number = _number(int, text)
    if number is None or number < 1:
        raise ValueError(f"{text!r} is not a limit; write a whole number from 1 upwards")
    return int(number)


def memory_size(text: str) -> int:
    number = _number(datatypes.stock_datatypes["byte-size"], text)
    if number is None or number < SMALLEST_MESSAGE_LIMIT:
        raise ValueError(f"{text!r} is not a limit; write a size of 64KB or more, such as 500MB")
    return int(number)


def queue_bytes(text: str) -> int:
    number = _number(datatypes.stock_datatypes["byte-size"], text)
    if number is None or number < 0:
        raise ValueError(f"{text!r} is not a size; write a size such as 32MB, or 0")
    return int(number)


def age(text: str) -> float:
    return _not_negative(text, "an age", "a number of seconds, 0 or more")


def timeout(text: str) -> float:
    return _not_negative(text, "a timeout", "a number of seconds, or 0 for no timeout")


def duration_or_none(text: str) -> float:
    return _not_negative(text, "a length of time", "a number of seconds, or 0")


def at_stop(text: str) -> str:
    if text not in ("interrupt", "wait"):
        raise ValueError(f"{text!r} cannot be done; write interrupt or wait")
    return text


def class_names(text: str) -> tuple[str, ...]:
    names = tuple(text.replace(",", " ").split())
    if names == ("none",):
        return ()
    for name in names:
        if name != "*" and not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"{name!r} is not a class or a module; write dotted names, none, or *")
    return names


def log_levels(text: str) -> Mapping[str, str]:
    return parse_levels(text)


def duration(text: str) -> float:
    number = _number(float, text)
    if number is None or number <= 0:
        raise ValueError(f"{text!r} is not a length of time; write a number of seconds above 0")
    return number


def seconds(text: str) -> float:
    number = _number(float, text)
    if number is None or number < 0:
        raise ValueError(f"{text!r} is not a length of time; write a number of seconds, 0 or more")
    return number


def cache_size(text: str) -> int:
    number = _number(datatypes.stock_datatypes["byte-size"], text)
    if number is None or number < 0:
        raise ValueError(f"{text!r} is not the size of a cache; write a size such as 20MB or 1GB")
    return int(number)


def silence(text: str) -> float:
    number = _number(float, text)
    if number is None or number < 0:
        raise ValueError(
            f"{text!r} is not a length of a silence; write a number of seconds, or 0 for any"
        )
    return number


def auto_or_boolean(text: str) -> bool | str:
    if text.lower() == "auto":
        return "auto"
    try:
        return bool(datatypes.asBoolean(text))
    except ValueError:
        raise ValueError(f"{text!r} is none of auto, on and off; write one of them") from None


def group_or_boolean(text: str) -> bool | str:
    """The name of a group of clients, on or off."""
    try:
        return bool(datatypes.asBoolean(text))
    except ValueError:
        if len(text) > _LONGEST_GROUP:
            raise ValueError(
                f"the name of a group has {len(text)} characters; write at most {_LONGEST_GROUP}"
            ) from None
        return text


def protocol_version(text: str) -> int:
    if text not in ("5", "6"):
        raise ValueError(f"{text!r} is not a version of the protocol; write 5 or 6")
    return int(text)


def message_size(text: str) -> int:
    number = _number(datatypes.stock_datatypes["byte-size"], text)
    if number is None or not SMALLEST_MESSAGE_LIMIT <= number <= MAX_FRAME:
        raise ValueError(
            f"{text!r} is not a size for messages; "
            "write a size from 64KB to 4095MB, such as 500MB or 1GB"
        )
    return int(number)


def _not_negative(text: str, what: str, remedy: str) -> float:
    number = _number(float, text)
    if number is None or number < 0:
        raise ValueError(f"{text!r} is not {what}; write {remedy}")
    return number


def _number(convert: type, text: str) -> float | None:
    try:
        number: float = convert(text)
        return number if math.isfinite(number) else None
    except (ValueError, OverflowError):
        return None
