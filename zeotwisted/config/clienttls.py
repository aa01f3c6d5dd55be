"""The context of a client's ``<ssl>`` section, made again when the files change."""

from __future__ import annotations

import logging
import os
import ssl
from types import SimpleNamespace
from typing import Any

from .tls import SIGNED, ContextError, client_context
from .tlsfiles import section_state

__all__ = ["ClientTLS"]

_log = logging.getLogger("zeotwisted.client")


class ClientTLS:
    """Returns the context for a new connection.

    A client lives for as long as its process, and its certificate may be renewed before that.

    :param section: the values of the section.
    :raises ContextError: one of its files cannot be used.
    """

    def __init__(self, section: Any) -> None:
        # The process may change its folder.
        self._section = SimpleNamespace(
            certificate=_absolute(section.certificate),
            key=_absolute(section.key),
            authenticate=_absolute(section.authenticate),
            password_function=section.password_function,
            server_hostname=section.server_hostname,
            check_hostname=section.check_hostname,
        )
        self._read = section_state(self._section)
        self._context, _ = client_context(section)

    def __call__(self) -> ssl.SSLContext:
        """Return the context. Read the files if they have changed since they were read last."""
        state = section_state(self._section)
        if state != self._read:
            self._read = state
            try:
                self._context, _ = client_context(self._section)
            except ContextError as error:
                _log.warning(
                    "the certificates of the <ssl> section have changed and cannot be used, so the "
                    "old ones stay in use: %s",
                    error,
                )
            else:
                _log.info("the certificates of the <ssl> section were read again")
        return self._context


def _absolute(path: str | None) -> str | None:
    if not path or path in SIGNED:
        return path
    return os.path.abspath(os.path.expanduser(path))
