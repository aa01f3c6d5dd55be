"""What the arguments of a client have to be."""

from __future__ import annotations

import os
from typing import Any

from zeotwisted.arguments import (
    Rule,
    Table,
    Wrong,
    file_in_folder,
    flag,
    folder,
    label,
    longest_silence,
    methods,
    name,
    number,
    optional,
    parse_address,
    path,
    seconds,
    size,
    text,
)

__all__ = ["CLIENT_STORAGE", "STORAGE_CLIENT"]

#: How many characters the name of a group may have, and what is taken for a mistake.
_LONGEST_GROUP = 100
_FLAGS = ("on", "off", "true", "false", "yes", "no", "1", "0")

_is_cache = methods(
    "loadBefore", "store", "invalidate", "clear", "getLastTid", "setLastTid", "close"
)


def _cache(value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, (str, bytes, bytearray, os.PathLike)):
        return file_in_folder(value)
    return _is_cache(value)


def _part_of_a_name(value: Any) -> Any:
    # ZEO accepts a number here, too.
    return value if not value or isinstance(value, int) else path(value)


def _folder_of_cache(value: Any) -> Any:
    # "" means the current folder, as in ZEO.
    return value if not value else path(value)


def _auto_or_flag(value: Any) -> Any:
    return value if value == "auto" else flag(value)


def _group_or_flag(value: Any) -> Any:
    if not isinstance(value, str):
        return flag(value)
    if not 0 < len(value) <= _LONGEST_GROUP or value.lower() in _FLAGS:
        raise Wrong
    return value


_FLAG = "True or False"
_SECONDS = "a number of seconds, such as 30"
_BYTES = "a number of bytes, such as 20 * 1024**2"

_BOTH: Table = {
    "addr": Rule(parse_address, ""),
    "name": Rule(optional(text), "a text"),
    "storage": Rule(name, "the name of a storage, such as '1'"),
    "cache_size": Rule(size, _BYTES),
    "cache": Rule(_cache, "the path of a file, or an object with the methods of a client cache"),
    "read_only": Rule(flag, _FLAG),
    "read_only_fallback": Rule(flag, _FLAG),
    "liveness_timeout": Rule(longest_silence, f"{_SECONDS}, or 0 for ever"),
    "refuse_older_server": Rule(flag, _FLAG),
    "ssl_server_hostname": Rule(optional(text), "the name of a host"),
    "password_file": Rule(optional(path), "the path of a file"),
    "realm": Rule(optional(text), "a text"),
    "client_label": Rule(optional(label), "a text"),
}

#: Of `zeotwisted.clientstorage.storage.ClientStorage`.
CLIENT_STORAGE: Table = {
    **_BOTH,
    "wait_timeout": Rule(optional(seconds), _SECONDS),
    "client": Rule(_part_of_a_name, "a part of a file's name, such as 'zope1'"),
    "var": Rule(_folder_of_cache, "the path of a folder"),
    "blob_dir": Rule(optional(folder), "the path of a folder; '.' is the current one"),
    "shared_blob_dir": Rule(flag, _FLAG),
    "blob_cache_size": Rule(optional(size), _BYTES),
    "blob_cache_size_check": Rule(number, "a percentage, such as 10"),
    "wait": Rule(flag, _FLAG),
    "server_sync": Rule(flag, _FLAG),
    "commit_lock_timeout": Rule(optional(seconds), f"{_SECONDS}, or None for ever"),
    "read_ahead": Rule(_auto_or_flag, '"auto", True or False'),
    "warm_start": Rule(_group_or_flag, f"{_FLAG}, or the name of a group of clients"),
    "reactor": Rule(
        optional(methods("callFromThread", "callLater")),
        "a Twisted reactor, or None for one of the client's own",
    ),
}

#: Of `zeotwisted.clientstorage.native.StorageClient`.
STORAGE_CLIENT: Table = {
    **_BOTH,
    "wait_timeout": Rule(seconds, _SECONDS),
    "reactor": Rule(methods("callFromThread", "callLater"), "a Twisted reactor"),
    "stale": Rule(methods("__call__"), "a function without arguments"),
}
