"""So that old imports need no more than another name of the package.

``from zeotwisted.ClientStorage import ClientStorage`` finds the class, and so does
``zeotwisted.ClientStorage``: as an attribute of the package, this name is the class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clientstorage import ClientStorage

__all__ = ["ClientStorage"]


def __getattr__(name: str) -> Any:
    # The package loads this module, and a daemon has no use for the client.
    if name == "ClientStorage":
        from .clientstorage import ClientStorage

        return ClientStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
