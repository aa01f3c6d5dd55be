"""The sections `<zeotwisted>` and `<clientstorage>`, which open a client.

This module is imported when a configuration has ``%import zeotwisted``, or ``%import
zeotwisted.config``.
"""

from __future__ import annotations

import logging
from typing import Any

from .beside import watch
from .clienttls import ClientTLS
from .datatypes import Address
from .loader import ConfigurationError
from .tls import ContextError

__all__ = ["ClientStorageConfig"]

_log = logging.getLogger("zeotwisted.config")

#: Arguments of `ClientStorage`, and the keys that have their values.
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

#: Arguments that are passed only if the key is set. Otherwise the storage's default applies. ZEO's
#: client, which accepts all arguments above, does not know some of these.
_IF_SET = {
    "blob_cache_size": "blob-cache-size",
    "blob_cache_size_check": "blob-cache-size-check",
    "client_label": "client-label",
    "liveness_timeout": "liveness-timeout",
    "client": "client",
    "var": "var",
    "username": "username",
    "password": "password",
    "password_file": "password-file",
    "realm": "realm",
    "commit_lock_timeout": "commit-lock-timeout",
}

#: Keys of ZEO's sections that have no effect.
_WITHOUT_EFFECT = (
    "min-disconnect-poll",
    "max-disconnect-poll",
    "drop-cache-rather-verify",
)


class ClientStorageConfig:
    """A client storage that is configured but not open.

    :ivar name: the section's name, or None. ZODB and the server's configuration read it.
    :ivar config: the section's values.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.name: str | None = config.getSectionName()

    def open(self) -> Any:
        """Open the storage and return it."""
        addresses, options = self.arguments()
        # Imported late: some programs read a configuration and open nothing. They need no Twisted.
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
        """Return the servers' addresses, and the keyword arguments of `ClientStorage`.

        :raises ConfigurationError: a file in the section for TLS cannot be used.
        """
        config = self.config
        options = {argument: self._value(key) for argument, key in _ARGUMENTS.items()}
        for argument, key in _IF_SET.items():
            value = self._value(key)
            if value is not None:
                options[argument] = value
        if config.read_ahead != "auto":
            # Not passed otherwise, because ZEO's client does not know this argument.
            options["read_ahead"] = config.read_ahead
        if config.warm_start is not True:
            options["warm_start"] = config.warm_start
        if not config.wait:
            options["wait"] = False
        if config.ssl is not None:
            try:
                options["ssl"] = ClientTLS(config.ssl)
            except ContextError as error:
                where = f"<{config.getSectionType()}>: <{config.ssl.getSectionType()}>"
                raise ConfigurationError(f"{where}: {error}") from None
            options["ssl_server_hostname"] = config.ssl.server_hostname
        return list(config.server), options

    def _value(self, key: str) -> Any:
        return getattr(self.config, key.replace("-", "_"))


watch()
