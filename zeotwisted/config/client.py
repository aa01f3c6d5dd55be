"""The sections `<zeotwisted>` and `<clientstorage>`, by which a configuration opens a client.

This module is loaded when a configuration has ``%import zeotwisted``, or ``%import
zeotwisted.config``.
"""

from __future__ import annotations

import logging
from typing import Any

from .beside import watch
from .datatypes import Address
from .loader import ConfigurationError
from .tls import ContextError, client_context

__all__ = ["ClientStorageConfig"]

_log = logging.getLogger("zeotwisted.config")

#: The keys whose values are arguments of `ClientStorage`, by the names of these.
_ARGUMENTS = {
    "storage": "storage",
    "name": "name",
    "cache": "cache-path",
    "cache_size": "cache-size",
    "blob_dir": "blob-dir",
    "shared_blob_dir": "shared-blob-dir",
    "read_only": "read-only",
    "read_only_fallback": "read-only-fallback",
    "server_sync": "server-sync",
    "wait_timeout": "wait-timeout",
}

#: Those that are given to the storage only where they are set: it has defaults, or ZEO's client,
#: which takes all the others, does not know them.
_IF_SET = {
    "blob_cache_size": "blob-cache-size",
    "blob_cache_size_check": "blob-cache-size-check",
    "client_label": "client-label",
    "liveness_timeout": "liveness-timeout",
    "client": "client",
    "var": "var",
}

#: Keys of ZEO's sections that mean nothing.
_WITHOUT_EFFECT = (
    "min-disconnect-poll",
    "max-disconnect-poll",
    "drop-cache-rather-verify",
    "username",
    "password",
    "realm",
)


class ClientStorageConfig:
    """A client storage that is configured but not open.

    :ivar name: the section's name, or None; ZODB and the server ask for it.
    :ivar config: the section's values.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.name: str | None = config.getSectionName()

    def open(self) -> Any:
        """Return the storage, once it is connected."""
        addresses, options = self.arguments()
        # A configuration may be read where nothing is opened, and a client brings Twisted along.
        from zeotwisted.clientstorage import ClientStorage

        ignored = [key for key in _WITHOUT_EFFECT if self._value(key) is not None]
        if ignored:
            _log.warning(
                "<%s>: %s: no effect; remove %s",
                self.config.getSectionType(),
                ", ".join(ignored),
                "these lines" if len(ignored) > 1 else "this line",
            )
        return ClientStorage(addresses, **options)

    def arguments(self) -> tuple[list[Address], dict[str, Any]]:
        """Return the servers' addresses and the keyword arguments to open the storage with.

        :raises ConfigurationError: a file that its section for TLS names cannot be used.
        """
        config = self.config
        options = {argument: self._value(key) for argument, key in _ARGUMENTS.items()}
        for argument, key in _IF_SET.items():
            value = self._value(key)
            if value is not None:
                options[argument] = value
        if config.read_ahead:
            # ZEO's client does not know it.
            options["read_ahead"] = True
        if not config.wait:
            options["wait"] = False
        if config.ssl is not None:
            try:
                options["ssl"], options["ssl_server_hostname"] = client_context(config.ssl)
            except ContextError as error:
                where = f"<{config.getSectionType()}>: <{config.ssl.getSectionType()}>"
                raise ConfigurationError(f"{where}: {error}") from None
        return list(config.server), options

    def _value(self, key: str) -> Any:
        return getattr(self.config, key.replace("-", "_"))


watch()
