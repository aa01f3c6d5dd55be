"""``zeotwisted health``: asks a server whether it serves, as containers and monitors do.

It sends ``ruok``, which needs no account and takes no part in limits of storages.
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import ssl
import struct
import time
from typing import Any

from .errors import CommandError

__all__ = ["SUMMARY", "configure", "parse_address", "run", "tls_context"]

SUMMARY = "Ask a server whether it serves; exit with 0 if it does"

#: The longest answer to accept, in bytes. Each storage needs some hundreds.
_LONGEST = 2**20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("address", help="host:port, a port, or the path of a Unix socket")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help="the longest time for all of it [default: 5]",
    )
    parser.add_argument(
        "--ca", metavar="PATH", help="use TLS; the certificates of the authority, or of the server"
    )
    parser.add_argument(
        "--certificate", metavar="PATH", help="this client's certificate, if the server wants one"
    )
    parser.add_argument("--key", metavar="PATH", help="its key, if it is in another file")


def run(arguments: argparse.Namespace) -> int:
    """Ask; print one line; return the exit code."""
    address = parse_address(arguments.address)
    if not (math.isfinite(arguments.timeout) and arguments.timeout > 0):
        raise CommandError("--timeout: write a number of seconds above 0, such as 5")
    context = tls_context(arguments)
    end = time.monotonic() + arguments.timeout
    try:
        status = _ask(address, context, end)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise _unhealthy(arguments, f"TLS fails ({reason}); check --ca and --certificate") from None
    except TimeoutError:
        raise _unhealthy(
            arguments,
            f"no answer within {arguments.timeout:g} seconds; look into the server's log",
        ) from None
    except OSError as error:
        what = error.strerror or str(error)
        raise _unhealthy(arguments, f"{what}; start the server, or correct the address") from None
    except ValueError:
        raise _unhealthy(
            arguments,
            "no answer of a ZEO server; correct the address, and give --ca if it uses TLS",
        ) from None
    storages = (f"{name} ({state.get('connections')} clients)" for name, state in status.items())
    print(f"{arguments.address} serves {', '.join(storages)}")
    return 0


def _unhealthy(arguments: argparse.Namespace, reason: str) -> CommandError:
    return CommandError(f"{arguments.address}: {reason}")


def parse_address(text: str) -> tuple[str, int] | str:
    """Return the address that a text means.

    :raises CommandError: it means none.
    """
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(f"{text}: write host:port, a port, or a path with a slash in it")
    return host.strip("[]") or "127.0.0.1", int(port)


def tls_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the context for --ca, --certificate and --key; None without TLS.

    :raises CommandError: a file cannot be used.
    """
    if arguments.ca is None:
        if arguments.certificate is not None or arguments.key is not None:
            raise CommandError("--certificate and --key need --ca, the authority of the server")
        return None
    path = arguments.ca
    try:
        context = ssl.create_default_context(cafile=path)
        # The certificate of a server need not have the name by which a probe calls it.
        context.check_hostname = False
        if arguments.certificate is not None:
            path = arguments.certificate
            # An empty password: without one, OpenSSL would ask for it at the terminal.
            context.load_cert_chain(path, arguments.key, password="")
    except ssl.SSLError:
        raise CommandError(
            f"{path} cannot be used; write a file in PEM format, with an unencrypted key"
        ) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; correct the path") from None
    return context


def _ask(address: tuple[str, int] | str, context: ssl.SSLContext | None, end: float) -> Any:
    """Return the server's status.

    :param end: when to give up, by the monotonic clock.
    :raises OSError: the server cannot be reached, or takes too long.
    :raises ValueError: the answer is not that of a server.
    """
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_left(end))
        with sock:
            sock.connect(address)
            return _talk(sock, end)
    with socket.create_connection(address, _left(end)) as plain:
        if context is None:
            return _talk(plain, end)
        with context.wrap_socket(plain, server_hostname=address[0]) as secured:
            return _talk(secured, end)


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
