"""``zeotwisted standby``: runs a daemon that follows a primary, in the foreground.

It is ``twist zeo`` with a configuration that this command makes. Settings that it has no option for
go into a ``zeo.conf``: see ``<standby>``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from zeotwisted.config import ConfigurationError, parse_server_config, storage_section

from .errors import CommandError
from .target import parse_address

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Follow a primary, and serve a copy of its storage for reading, until it is promoted"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("primary", help="host:port, a port, or the path of a Unix socket")
    parser.add_argument(
        "--file", default="Data.fs", metavar="PATH", help="the copy [default: Data.fs]"
    )
    parser.add_argument(
        "--blob-dir", default="blobs", metavar="PATH", help="the blobs of the copy [default: blobs]"
    )
    parser.add_argument(
        "--storage", default="1", metavar="NAME", help="its name, there and here [default: 1]"
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1:8100",
        metavar="ADDRESS",
        help="where to serve the copy [default: 127.0.0.1:8100]",
    )
    parser.add_argument("--user", metavar="NAME", help="this standby's user name at the primary")
    parser.add_argument("--password-file", metavar="PATH", help="the file with its password")


def run(arguments: argparse.Namespace) -> int:
    """Become the daemon."""
    text = _configuration(arguments)
    try:
        parse_server_config(text)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    # The daemon reads it at its start. The file has no name that could be left over.
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        os.set_inheritable(file.fileno(), True)
        conf = f"/dev/fd/{file.fileno()}"
        file.seek(0)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "twisted", "zeo", "--conf", conf])


def _configuration(arguments: argparse.Namespace) -> str:
    lines = [f"primary {_shown(arguments.primary)}"]
    if arguments.user is not None:
        if arguments.password_file is None:
            raise CommandError("--user needs --password-file, the file with the password")
        path = os.path.abspath(arguments.password_file)
        lines += [f"username {arguments.user}", f"password-file {path}"]
    name = arguments.storage
    try:
        storage = storage_section(arguments.file, arguments.blob_dir)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    storage = storage.replace("<filestorage>", f"<filestorage {name}>", 1)
    listen = _shown(arguments.listen)
    inner = "\n".join([f"<standby {name}>", *lines, "</standby>"])
    return f"<zeo>\naddress {listen}\n{inner}\n</zeo>\n{storage}"


def _shown(text: str) -> str:
    address = parse_address(text)
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
