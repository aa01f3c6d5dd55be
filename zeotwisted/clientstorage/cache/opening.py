"""Opens the cache of a client storage."""

from __future__ import annotations

import os
from typing import Any

from zeotwisted.arguments import Rule, checked, existing_folder

from .file import FileCache
from .memory import ClientCache
from .trace import trace

__all__ = ["open_cache"]

_VAR = {"var": Rule(existing_folder, "the path of a folder")}


def open_cache(cache: Any, client: str | None, var: str | None, storage: str, size: int) -> Any:
    """Return the cache that the arguments of `ClientStorage` ask for.

    The environment variable ``ZEO_CACHE_TRACE`` makes it a traced cache; see `trace`.

    :param cache: the path of a file, a cache object, or None.
    :param client: a part of the file's name if `cache` is None; without it, there is no file.
    :param var: the folder of that file; the current one by default.
    :param storage: the storage's name at the server.
    :param size: in bytes.
    :raises ValueError: `var` is no folder.
    :raises CacheFileError: the file cannot be used.
    """
    if cache is None and client:
        where = checked(_VAR, {"var": var or os.getcwd()}).var
        cache = os.path.join(where, f"{client}-{storage}.zec")
    opened: ClientCache | FileCache
    if cache is None or cache == "":
        opened = ClientCache(size)
    elif isinstance(cache, (str, os.PathLike)):
        opened = FileCache(os.fspath(cache), size)
    else:
        return cache
    traced = os.environ.get("ZEO_CACHE_TRACE")
    return trace(opened, traced) if traced else opened
