"""The options of commands that are clients of a server: address, storage, TLS, user."""

from __future__ import annotations

import argparse
from typing import Any

from .target import add_connection, add_login, target

__all__ = ["add_client_options", "client_arguments"]


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    add_connection(parser)
    add_login(parser)


def client_arguments(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the address, and the other arguments of a `StorageClient`.

    :raises CommandError: an option is wrong.
    """
    found = target(arguments)
    options: dict[str, Any] = {
        "storage": found.storage,
        "wait_timeout": found.timeout,
        "ssl": found.tls,
        "ssl_server_hostname": found.server_name,
        "username": found.user,
        "password_file": found.password_file,
    }
    return found.address, {name: value for name, value in options.items() if value is not None}
