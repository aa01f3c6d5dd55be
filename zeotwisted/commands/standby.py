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
from .target import Address, Target, add_login, add_tls, parse_address, target

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
        "--listen",
        default="127.0.0.1:8100",
        metavar="ADDRESS",
        help="where to serve the copy [default: 127.0.0.1:8100]",
    )
    add_login(parser)
    add_tls(parser)
    # It waits for the primary as long as it has to.
    parser.set_defaults(timeout=1.0)


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
    primary = target(arguments, arguments.primary)
    lines = [f"primary {_shown(primary.address)}"]
    if primary.user is not None:
        lines.append(_line("username", primary.user))
    if primary.password_file is not None:
        lines.append(_line("password-file", os.path.abspath(primary.password_file)))
    lines += _tls_lines(arguments, primary)
    name = primary.storage
    try:
        storage = storage_section(arguments.file, arguments.blob_dir)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    storage = storage.replace("<filestorage>", f"<filestorage {name}>", 1)
    listen = _shown(parse_address(arguments.listen))
    inner = "\n".join([f"<standby {name}>", *lines, "</standby>"])
    return f"<zeo>\naddress {listen}\n{inner}\n</zeo>\n{storage}"


def _tls_lines(arguments: argparse.Namespace, primary: Target) -> list[str]:
    if primary.tls is None:
        return []
    lines = [_line("authenticate", os.path.abspath(arguments.ca))]
    if arguments.certificate is not None:
        lines.append(_line("certificate", os.path.abspath(arguments.certificate)))
    if arguments.key is not None:
        lines.append(_line("key", os.path.abspath(arguments.key)))
    if primary.server_name is not None:
        lines.append(_line("server-hostname", primary.server_name))
    if not primary.tls.check_hostname:
        lines.append("check-hostname false")
    return ["<ssl>", *lines, "</ssl>"]


def _line(key: str, value: str) -> str:
    """Return a line of a configuration.

    :raises CommandError: the value cannot be written there.
    """
    if value != value.strip() or len(value.splitlines()) != 1:
        raise CommandError(
            f"{value!r} cannot be used as {key}: it is empty, has a blank at an end, or a line "
            "break"
        )
    return f"{key} {value.replace('$', '$$')}"


def _shown(address: Address) -> str:
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
