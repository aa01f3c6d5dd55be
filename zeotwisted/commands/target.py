"""Which server a command talks to, and how: the arguments that commands share."""

from __future__ import annotations

import argparse
import math
import os
import ssl
from dataclasses import dataclass
from typing import TypeAlias

from .errors import CommandError

__all__ = [
    "Address",
    "Target",
    "add_connection",
    "add_json",
    "add_login",
    "add_tls",
    "add_way",
    "context",
    "parse_address",
    "target",
    "timeout",
]

#: Host and port, or the path of a Unix socket.
Address: TypeAlias = "tuple[str, int] | str"


@dataclass(frozen=True)
class Target:
    """A storage of a server, and how to reach it.

    :ivar text: the address as the user wrote it, for messages.
    :ivar timeout: the longest time for an answer that has to come soon, in seconds.
    :ivar tls: None for a plain connection.
    :ivar server_name: the name that the server's certificate has to have; None: that of the
        address.
    """

    text: str
    address: Address
    storage: str
    timeout: float
    tls: ssl.SSLContext | None
    server_name: str | None
    user: str | None
    password_file: str | None


def add_connection(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the arguments of a connection.

    :param several: whether there may be several addresses.
    """
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="+" if several else None,
        help="host:port, a port, or the path of a Unix socket",
    )
    add_way(parser)


def add_way(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a connection, without the address."""
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long to wait for the server [default: 10]",
    )
    add_tls(parser)


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for TLS."""
    parser.add_argument(
        "--ca", metavar="PATH", help="use TLS; the certificates of the authority, or of the server"
    )
    parser.add_argument(
        "--certificate", metavar="PATH", help="this client's certificate, if the server wants one"
    )
    parser.add_argument("--key", metavar="PATH", help="its key, if it is in another file")
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="the name in the server's certificate, if it is not that of the address",
    )


def add_login(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the arguments for the storage, and for a client with an account.

    :param several: whether there may be several storages.
    """
    parser.add_argument(
        "--storage",
        metavar="NAME",
        action="append" if several else "store",
        default=None if several else "1",
        help="the name of the storage at the server; repeatable [default: 1]"
        if several
        else "the name of the storage at the server [default: 1]",
    )
    add_account(parser)


def add_account(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for a client with an account."""
    parser.add_argument("--user", metavar="NAME", help="the account of this client, if it has one")
    parser.add_argument(
        "--password-file",
        metavar="PATH",
        help="the file whose first line is its password [default: the variable ZEO_PASSWORD]",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag for output that programs read."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def target(
    arguments: argparse.Namespace, address: str | None = None, storage: str | None = None
) -> Target:
    """Return what the arguments mean.

    :param address: one of several addresses.
    :param storage: one of several storages.
    :raises CommandError: they cannot be used.
    """
    text = arguments.address if address is None else address
    given = getattr(arguments, "storage", None)
    chosen = given if storage is None else storage
    password_file = getattr(arguments, "password_file", None)
    user = getattr(arguments, "user", None)
    if password_file is not None and user is None:
        raise CommandError("--password-file needs --user, the account of this client")
    if user is not None and password_file is None and not os.environ.get("ZEO_PASSWORD"):
        raise CommandError(
            f"--user needs --password-file, the file with the password of {user}; or the variable "
            "ZEO_PASSWORD"
        )
    tls = context(arguments)
    where = parse_address(text)
    if arguments.server_name is not None and tls is None:
        raise CommandError("--server-name needs --ca, the authority of the server")
    if tls is not None and isinstance(where, str) and arguments.server_name is None:
        # There is no name that could be checked.
        tls.check_hostname = False
    return Target(
        text,
        where,
        chosen if isinstance(chosen, str) else "1",
        timeout(arguments),
        tls,
        arguments.server_name,
        user,
        password_file,
    )


def timeout(arguments: argparse.Namespace) -> float:
    """Return the value of --timeout.

    :raises CommandError: it cannot be used.
    """
    seconds: float = arguments.timeout
    if not (math.isfinite(seconds) and seconds > 0):
        raise CommandError("--timeout: write a number of seconds above 0, such as 5")
    return seconds


def parse_address(text: str) -> Address:
    """Return the address of a server.

    :raises CommandError: it is none.
    """
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(f"{text}: write host:port, a port, or a path with a slash in it")
    return host.strip("[]") or "127.0.0.1", int(port)


def context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return how TLS is used; None if it is not.

    :raises CommandError: a file cannot be used.
    """
    if arguments.ca is None:
        if arguments.certificate is not None or arguments.key is not None:
            raise CommandError("--certificate and --key need --ca, the authority of the server")
        return None
    path = arguments.ca
    try:
        made = ssl.create_default_context(cafile=path)
        if arguments.certificate is not None:
            path = arguments.certificate
            # An empty password: without one, OpenSSL would ask for it at the terminal.
            made.load_cert_chain(path, arguments.key, password="")
    except ssl.SSLError:
        remedy = "write a file in PEM format"
        if path != arguments.ca:
            remedy += ", with an unencrypted key in it, or in the file of --key"
        raise CommandError(f"{path} cannot be used; {remedy}") from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}; correct the path") from None
    return made
