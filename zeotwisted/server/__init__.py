"""The daemon: storages served to any number of clients."""

from .options import ServerOptions
from .service import ListeningError, StorageServer

__all__ = ["ListeningError", "ServerOptions", "StorageServer"]
