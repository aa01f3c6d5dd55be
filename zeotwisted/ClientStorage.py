"""Supports imports that were written for ZEO, with only the package's name replaced.

``from zeotwisted.ClientStorage import ClientStorage`` imports the class. The package's attribute
``zeotwisted.ClientStorage`` is the class too, not this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clientstorage import ClientStorage

__all__ = ["ClientStorage"]


def __getattr__(name: str) -> Any:
    # Imported late: the package imports this module, and a server does not need the client.
    if name == "ClientStorage":
        from .clientstorage import ClientStorage

        return ClientStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
