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

__all__ = ["connected", "failures"]

#: What clients call themselves, for the server's log.
_LABEL = "zeotwisted command"


@contextmanager
def connected(target: Target, **options: Any) -> Iterator[ClientStorage]:
    """Open a client, which only reads unless `options` say otherwise, and close it at the end.

    :param options: further arguments of the client.
    :raises CommandError: there is no connection, or a call in the ``with`` statement fails.
    """
    # The errors that users have to see are raised; the client also logs them.
    logging.getLogger("zeotwisted").addHandler(logging.NullHandler())
    _knock(target)
    reads_only = not options.get("read_only_fallback")
    chosen: dict[str, Any] = {
        "read_only": reads_only,
        "wait_timeout": target.timeout,
        "client_label": _LABEL,
        "ssl": target.tls,
        "ssl_server_hostname": target.server_name,
        "username": target.user,
        "password_file": target.password_file,
    }
    with failures(target.text):
        try:
            client = ClientStorage(target.address, target.storage, **chosen | options)
        except ValueError as error:
            # An argument cannot work.
            raise CommandError(f"{target.text}: {error}") from None
        with closing(client):
            yield client


def _knock(target: Target) -> None:
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
