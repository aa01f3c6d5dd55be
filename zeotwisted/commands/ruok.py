"""Asks a server for its status by ``ruok``, which needs no account and no storage."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from typing import Any, NamedTuple

from .errors import CommandError
from .target import Address, Target

__all__ = ["Unreachable", "asked"]

#: The longest answer to accept, in bytes. Each storage needs some hundreds.
_LONGEST = 2**20


#: Why a port of the right machine may be the wrong one.
_OTHER_PORTS = " if it is that of --http, and give --ca if it uses TLS"


class Unreachable(CommandError):
    """The server does not answer as a server does."""


class _Answer(NamedTuple):
    """What a server has answered.

    :ivar storages: the counters of each storage, by its name; see ``server_status``.
    :ivar seconds: how long it took, from the connection on.
    """

    storages: dict[str, dict[str, Any]]
    seconds: float


def asked(target: Target) -> _Answer:
    """Ask a server for its status.

    :raises Unreachable: there is no answer within the time-out of `target`, or a wrong one.
    """
    begin = time.monotonic()
    try:
        storages = _ask(target, begin + target.timeout)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise _unreachable(
            target, f"TLS fails ({reason}); check --ca, --certificate and --server-name"
        ) from None
    except TimeoutError:
        raise _unreachable(
            target,
            f"no answer within {target.timeout:g} seconds; look into the server's log, or correct "
            f"the address{_OTHER_PORTS}",
        ) from None
    except ConnectionResetError:
        raise _unreachable(
            target, f"it ends the connection without an answer; correct the address{_OTHER_PORTS}"
        ) from None
    except OSError as error:
        what = error.strerror or str(error)
        raise _unreachable(target, f"{what}; start the server, or correct the address") from None
    except ValueError:
        raise _unreachable(
            target, f"no answer of a ZEO server; correct the address{_OTHER_PORTS}"
        ) from None
    return _Answer(storages, time.monotonic() - begin)


def _unreachable(target: Target, reason: str) -> Unreachable:
    return Unreachable(f"{target.text}: {reason}")


def _ask(target: Target, end: float) -> Any:
    """Return the server's status.

    :param end: when to give up, by the monotonic clock.
    :raises OSError: the server cannot be reached, or takes too long.
    :raises ValueError: the answer is not that of a server.
    """
    with _connected(target.address, end) as plain:
        if target.tls is None:
            return _talk(plain, end)
        name = target.server_name
        if name is None and not isinstance(target.address, str):
            name = target.address[0]
        with target.tls.wrap_socket(plain, server_hostname=name) as secured:
            return _talk(secured, end)


def _connected(address: Address, end: float) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, _left(end))
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_left(end))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _talk(sock: socket.socket, end: float) -> Any:
    # The first frame is the greeting.
    _frame(sock, end)
    sock.sendall(struct.pack(">I", 4) + b"ruok")
    status = json.loads(_frame(sock, end))
    if not isinstance(status, dict) or not all(
        isinstance(state, dict) for state in status.values()
    ):
        raise ValueError(status)
    return status


def _frame(sock: socket.socket, end: float) -> bytes:
    (length,) = struct.unpack(">I", _read(sock, 4, end))
    if length > _LONGEST:
        raise ValueError(length)
    return _read(sock, length, end)


def _read(sock: socket.socket, count: int, end: float) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(_left(end))
        more = sock.recv(count - len(data))
        if not more:
            raise ValueError("it ended")
        data += more
    return data


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
