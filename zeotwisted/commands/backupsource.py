"""The arguments of ``zeotwisted backup`` that say what is backed up, and what opens it."""

from __future__ import annotations

import argparse
import logging
import math
import socket
import ssl
from typing import Any

from zeotwisted.backup import FileSource, ServerSource, Source
from zeotwisted.clientstorage import ClientStorage

from .errors import CommandError

__all__ = ["add_source", "check_source", "open_source", "quiet"]

_LABEL = "zeotwisted backup"


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--file", metavar="PATH", help="back up this FileStorage, beside its server; no SOURCE"
    )
    parser.add_argument("--blobs", metavar="FOLDER", help="the folder with the blobs of --file")
    parser.add_argument(
        "--storage",
        metavar="NAME",
        default="1",
        help="the name of the storage at the server [default: 1]",
    )
    parser.add_argument("--user", metavar="NAME", help="the account of this client, if it has one")
    parser.add_argument(
        "--password-file",
        metavar="PATH",
        help="the file whose first line is its password; otherwise the variable ZEO_PASSWORD has "
        "it",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long to wait for the server [default: 10]",
    )
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


def check_source(arguments: argparse.Namespace) -> None:
    """Check what does not need the source.

    :raises CommandError: an argument cannot be used.
    """
    if arguments.blobs is not None and arguments.file is None:
        raise CommandError("--blobs belongs to --file; a server sends the blobs itself")
    if not (math.isfinite(arguments.timeout) and arguments.timeout > 0):
        raise CommandError("--timeout: write a number of seconds above 0, such as 5")
    if arguments.password_file is not None and arguments.user is None:
        raise CommandError("--password-file needs --user, the account of this client")
    if arguments.ca is None and (arguments.certificate or arguments.key or arguments.server_name):
        raise CommandError("--certificate, --key and --server-name need --ca, for TLS")


def open_source(arguments: argparse.Namespace, address: str | None, folder: str | None) -> Source:
    """Open what is backed up.

    :param address: that of the server; None for a file.
    :param folder: where it may keep files for a moment; None for the system's folder.
    :raises CommandError: it cannot be opened.
    """
    if address is None:
        return FileSource(arguments.file, arguments.blobs)
    place = _place(address)
    context = None if arguments.ca is None else _context(arguments)
    if context is not None and isinstance(place, str) and arguments.server_name is None:
        # There is no name that could be checked.
        context.check_hostname = False
    _knock(address, place, arguments.timeout)

    def open_client(**options: Any) -> ClientStorage:
        return ClientStorage(
            place,
            arguments.storage,
            wait_timeout=arguments.timeout,
            client_label=_LABEL,
            ssl=context,
            ssl_server_hostname=arguments.server_name,
            username=arguments.user,
            password_file=arguments.password_file,
            **options,
        )

    return ServerSource(f"storage {arguments.storage} of {address}", open_client, folder)


def quiet() -> None:
    """Keep log lines from the terminal: errors that users have to see are raised, too."""
    for name in ("zeotwisted", "ZODB", "zodb", "txn"):
        logging.getLogger(name).addHandler(logging.NullHandler())


def _place(text: str) -> tuple[str, int] | str:
    if "/" in text:
        return text
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(
            f"{text}: write host:port, a port, or a path with a slash in it for a server's Unix "
            "socket; for a FileStorage, write --file PATH"
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def _knock(text: str, place: tuple[str, int] | str, timeout: float) -> None:
    """Find out at once that nobody listens there; a client tries again for some time."""
    try:
        if isinstance(place, str):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(timeout)
                sock.connect(place)
        else:
            socket.create_connection(place, timeout).close()
    except OSError as error:
        raise CommandError(
            f"{text}: {error.strerror or error}; start the server, or correct the address"
        ) from None


def _context(arguments: argparse.Namespace) -> ssl.SSLContext:
    path = arguments.ca
    try:
        context = ssl.create_default_context(cafile=path)
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
