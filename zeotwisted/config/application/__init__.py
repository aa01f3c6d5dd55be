"""ZEO's words, ``<clientstorage>`` and ``<ssl>``, for configurations that ``%import zeotwisted``.

ZEO's component has types of these names, too, and ZConfig takes one type of a name. A configuration
that imports both packages, in any order, has ours.

ZConfig asks a package's loader for its component, and tells it nothing about the schema. So the
loader of this package looks for the schema in the frames of its callers. If it finds none, because
ZConfig has changed, our types are added as those of any package are, and only one of the two
packages can be imported.
"""

from __future__ import annotations

import sys
from typing import Any

__all__: list[str] = []

#: What ZConfig calls ZEO's component, and the types in it.
_ZEO = "package:ZEO:component.xml"
_ZEOS_TYPES = ("clientstorage", "ssl")


class _Loader:
    """Reads the files of this package; makes room in the schema that is being extended."""

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
    # The schema is one configuration's own, as %import makes a copy.
    if schema.hasComponent(_ZEO):
        for name in _ZEOS_TYPES:
            schema._types.pop(name, None)
    else:
        # An %import that follows finds that it has been done.
        schema.addComponent(_ZEO)


globals()["__loader__"] = _Loader(__spec__.loader)
