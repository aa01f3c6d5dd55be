"""Each test gets a `world`, as those of the client do."""

from tests.clientstorage.conftest import package, world

__all__ = ["package", "world"]
