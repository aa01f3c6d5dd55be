"""The options of commands that are clients of a server: address, storage, TLS, user."""

from __future__ import annotations

import argparse
from typing import Any

from .errors import CommandError
from .health import parse_address, tls_context

__all__ = ["add_client_options", "client_arguments"]


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    parser.add_argument("address", help="host:port, a port, or the path of a Unix socket")
    parser.add_argument(
        "--storage", default="1", metavar="NAME", help="the storage's name there [default: 1]"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="the longest time to wait for the first connection [default: 30]",
    )
    parser.add_argument(
        "--ca", metavar="PATH", help="use TLS; the certificates of the authority, or of the server"
    )
    parser.add_argument(
        "--certificate", metavar="PATH", help="this client's certificate, if the server wants one"
    )
    parser.add_argument("--key", metavar="PATH", help="its key, if it is in another file")
    parser.add_argument("--user", metavar="NAME", help="this client's user name")
    parser.add_argument("--password-file", metavar="PATH", help="the file with its password")


def client_arguments(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the address, and the other arguments of a `StorageClient`.

    :raises CommandError: an option is wrong.
    """
    if not 0 < arguments.timeout < 1e9:
        raise CommandError("--timeout: write a number of seconds above 0, such as 30")
    options: dict[str, Any] = {
        "storage": arguments.storage,
        "wait_timeout": arguments.timeout,
        "ssl": tls_context(arguments),
    }
    if arguments.user is not None:
        if arguments.password_file is None:
            raise CommandError("--user needs --password-file, the file with the password")
        options |= {"username": arguments.user, "password_file": arguments.password_file}
    return parse_address(arguments.address), options
