"""The `<clientstorage>` section, which `%import zeotwisted` adds to an application's schema."""

from __future__ import annotations

from typing import Any

from zeotwisted.config.datatypes import Address
from zeotwisted.config.loader import ConfigurationError
from zeotwisted.config.tls import ContextError, client_context

__all__ = ["ClientStorageConfig"]


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
        from zeotwisted.client.storage import ClientStorage

        return ClientStorage(addresses, **options)

    def arguments(self) -> tuple[list[Address], dict[str, Any]]:
        """Return the servers' addresses and the keyword arguments to open the storage with.

        :raises ConfigurationError: a file that its <ssl> section names cannot be used.
        """
        config = self.config
        options = {
            "storage": config.storage,
            "name": config.name,
            "cache": config.cache_path,
            "cache_size": config.cache_size,
            "blob_dir": config.blob_dir,
            "shared_blob_dir": config.shared_blob_dir,
            "read_only": config.read_only,
            "read_only_fallback": config.read_only_fallback,
            "server_sync": config.server_sync,
            "wait_timeout": config.wait_timeout,
        }
        # These have defaults that only the storage knows.
        for name in (
            "blob_cache_size",
            "blob_cache_size_check",
            "client_label",
            "liveness_timeout",
        ):
            value = getattr(config, name)
            if value is not None:
                options[name] = value
        if config.read_ahead:
            # ZEO's client does not know it.
            options["read_ahead"] = True
        if config.ssl is not None:
            try:
                options["ssl"], options["ssl_server_hostname"] = client_context(config.ssl)
            except ContextError as error:
                raise ConfigurationError(f"<clientstorage>: <ssl>: {error}") from None
        return list(config.server), options
