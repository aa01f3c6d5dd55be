"""ZEO's sections ``<clientstorage>`` and ``<ssl>``, for configurations that ``%import zeotwisted``.

ZEO's component defines types with these names too, and ZConfig allows only one type for a name. A
configuration that imports both packages, in any order, gets the types of this package.

ZConfig calls a package's loader to read its component, but does not pass the schema. So the loader
of this package searches the stack frames of its callers for the schema. If it finds none, because
ZConfig has changed, a configuration can import only one of the two packages.
"""

from __future__ import annotations

import sys
from typing import Any

__all__: list[str] = []

#: ZConfig's name for ZEO's component, and the types in it.
_ZEO = "package:ZEO:component.xml"
_ZEOS_TYPES = ("clientstorage", "ssl")


class _Loader:
    """Reads the files of this package, and first removes ZEO's types from the caller's schema."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def get_data(self, path: str) -> Any:
        schema = _schema_of_caller()
        if schema is not None:
            _make_room(schema)
        return self._loader.get_data(path)


def _schema_of_caller() -> Any:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "ZConfig.schema":
            schema = getattr(frame.f_locals.get("self"), "_schema", None)
            if hasattr(schema, "_types"):
                return schema
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _make_room(schema: Any) -> None:
    # %import has copied the schema, so this does not change other configurations.
    if schema.hasComponent(_ZEO):
        for name in _ZEOS_TYPES:
            schema._types.pop(name, None)
    else:
        # A later %import of ZEO finds its component in the schema, and does nothing.
        schema.addComponent(_ZEO)


globals()["__loader__"] = _Loader(__spec__.loader)
