"""Connects to a storage as a client, and says in one line why that, or a call, fails."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from ZODB.POSException import POSError, ReadOnlyError

from zeotwisted.clientstorage import ClientStorage
from zeotwisted.exceptions import AccessDenied

from .errors import CommandError
from .target import Target

__all__ = ["client_options", "connected", "failures", "knock", "quiet", "quietly"]

#: What clients call themselves, for the server's log.
_LABEL = "zeotwisted command"


@contextmanager
def connected(target: Target, **options: Any) -> Iterator[ClientStorage]:
    """Open a client, which only reads unless `options` say otherwise, and close it at the end.

    :param options: further arguments of the client.
    :raises CommandError: there is no connection, or a call in the ``with`` statement fails.
    """
    quiet()
    knock(target)
    chosen = client_options(target) | {
        "read_only": not options.get("read_only_fallback"),
        # A tool uses few objects, or all of them once.
        "warm_start": False,
    }
    with failures(target.text):
        try:
            client = ClientStorage(target.address, target.storage, **chosen | options)
        except ValueError as error:
            # An argument cannot work.
            raise CommandError(f"{target.text}: {error}") from None
        with closing(client):
            yield client


#: What clients log by.
_LOGGERS = ("zeotwisted", "ZODB", "zodb", "txn")


def quiet() -> None:
    """Keep log lines from the terminal: errors that users have to see are raised, too."""
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())


@contextmanager
def quietly() -> Iterator[None]:
    """Keep log lines from the terminal for a time."""
    handler = logging.NullHandler()
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)


def client_options(target: Target) -> dict[str, Any]:
    """Return the arguments of a client, besides the address and the storage."""
    return {
        "wait_timeout": target.timeout,
        "client_label": _LABEL,
        "ssl": target.tls,
        "ssl_server_hostname": target.server_name,
        "username": target.user,
        "password_file": target.password_file,
    }


def knock(target: Target) -> None:
    """Find out at once that nobody listens there; a client tries again for some time."""
    address = target.address
    try:
        if isinstance(address, str):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(target.timeout)
                sock.connect(address)
        else:
            socket.create_connection(address, target.timeout).close()
    except TimeoutError:
        raise CommandError(
            f"{target.text}: no connection within {target.timeout:g} seconds; check the address "
            "and the network"
        ) from None
    except OSError as error:
        raise CommandError(
            f"{target.text}: {error.strerror or error}; start the server, or correct the address"
        ) from None


@contextmanager
def failures(text: str) -> Iterator[None]:
    """Raise errors of a storage as `CommandError`.

    :param text: the name of the storage in messages.
    """
    try:
        yield
    except AccessDenied as error:
        raise CommandError(f"{text}: {error}") from None
    except ReadOnlyError as error:
        raise CommandError(
            f"{text}: {error or 'it can only be read'}; use a server that accepts changes, or an "
            "account that may make them"
        ) from None
    except (POSError, OSError) as error:
        raise CommandError(f"{text}: {error or type(error).__name__}") from None
