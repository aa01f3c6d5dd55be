"""The arguments of ``zeotwisted backup`` that say what is backed up, and what opens it."""

from __future__ import annotations

import argparse
from typing import Any

from zeotwisted.backup import FileSource, ServerSource, Source
from zeotwisted.clientstorage import ClientStorage
from zeotwisted.exceptions import ClientDisconnected

from .connecting import client_options, knock
from .errors import CommandError
from .target import add_login, add_way, target

__all__ = ["add_source", "check_source", "open_source"]


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--file", metavar="PATH", help="back up this FileStorage, beside its server; no SOURCE"
    )
    parser.add_argument("--blobs", metavar="FOLDER", help="the folder with the blobs of --file")
    add_login(parser)
    add_way(parser)


def check_source(arguments: argparse.Namespace, address: str | None) -> None:
    """Check what does not need the source.

    :param address: that of the server; None for a file.
    :raises CommandError: an argument cannot be used.
    """
    if arguments.blobs is not None and arguments.file is None:
        raise CommandError("--blobs belongs to --file; a server sends the blobs itself")
    if address is None:
        return
    if "/" not in address and ":" not in address and not address.isdigit():
        raise CommandError(
            f"{address}: write host:port, a port, or a path with a slash in it for a server's Unix "
            "socket; for a FileStorage, write --file PATH"
        )
    target(arguments, address)


def open_source(arguments: argparse.Namespace, address: str | None, folder: str) -> Source:
    """Open what is backed up.

    :param address: that of the server; None for a file.
    :param folder: where it may keep files for a moment.
    :raises CommandError: it cannot be opened.
    """
    if address is None:
        return FileSource(arguments.file, arguments.blobs)
    server = target(arguments, address)
    knock(server)

    def open_client(**options: Any) -> ClientStorage:
        given = client_options(server) | {"client_label": "zeotwisted backup"} | options
        return ClientStorage(server.address, server.storage, warm_start=False, **given)

    try:
        return ServerSource(f"storage {server.storage} of {address}", open_client, folder)
    except ClientDisconnected as error:
        raise CommandError(
            f"{address}: {error}; check the address, --storage, and for TLS --ca, --certificate, "
            "--key and --server-name"
        ) from None
