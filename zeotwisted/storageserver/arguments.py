"""The rules for the arguments of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IStreamServerEndpoint

from zeotwisted.access import Access
from zeotwisted.arguments import (
    Rule,
    Table,
    Wrong,
    existing_folder,
    flag,
    longest_silence,
    optional,
    seconds,
    size,
    text,
)
from zeotwisted.protocol import MAX_FRAME

__all__ = ["LISTEN", "SERVER_OPTIONS", "STORAGE_SERVER"]


#: The lowest limit for bytes: a message of a blob has to fit.
_FEWEST_BYTES = 2**16


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Wrong
    return value


def _more_than_none(value: Any) -> float:
    if seconds(value) == 0:
        raise Wrong
    return seconds(value)


def _version(value: Any) -> int:
    if isinstance(value, bool) or value not in (5, 6):
        raise Wrong
    return int(value)


def _class_names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise Wrong
    return tuple(value)


def _at_stop(value: Any) -> str:
    if value not in ("interrupt", "wait"):
        raise Wrong
    return str(value)


def _message_size(value: Any) -> int:
    if not 0 < size(value) <= MAX_FRAME:
        raise Wrong
    return size(value)


def _some_bytes(value: Any) -> int:
    if size(value) < _FEWEST_BYTES:
        raise Wrong
    return size(value)


def _storages(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Wrong("{'1': storage}")
    for name in value:
        if not isinstance(name, str):
            right = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
            raise Wrong(f"{{{right!r}: storage}}, as clients ask for a storage by a text")
        text(name)
    if not value:
        raise Wrong("at least one, as in {'1': storage}")
    return value


def _options(value: Any) -> Any:
    if not all(hasattr(value, name) for name in SERVER_OPTIONS):
        raise Wrong
    return value


def _access(value: Any) -> Any:
    if not isinstance(value, Access):
        raise Wrong
    return value


def _endpoint(value: Any) -> Any:
    if isinstance(value, str):
        raise Wrong(f"twisted.internet.endpoints.serverFromString(reactor, {value!r})")
    if not IStreamServerEndpoint.providedBy(value):
        raise Wrong
    return value


_FLAG = "True or False"
_SECONDS = "a number of seconds, such as 300"
_COUNT = "a number, 1 or more"
_BYTES = "a number of bytes from 2**16 upwards, such as 32 * 1024**2"
_ACCESS = "a zeotwisted.access.Access, or None"

#: The fields of `zeotwisted.storageserver.options.ServerOptions`.
SERVER_OPTIONS: Table = {
    "read_only": Rule(flag, _FLAG),
    "invalidation_queue_size": Rule(_count, "a number of transactions, 1 or more"),
    "invalidation_queue_bytes": Rule(size, "a number of bytes, such as 32 * 1024**2"),
    "record_cache_bytes": Rule(size, "a number of bytes, such as 32 * 1024**2"),
    "invalidation_age": Rule(optional(seconds), _SECONDS),
    "transaction_timeout": Rule(optional(seconds), f"{_SECONDS}, or 0 for no time-out"),
    "client_conflict_resolution": Rule(flag, _FLAG),
    "conflict_classes": Rule(optional(_class_names), "a tuple of dotted names, or None"),
    "msgpack": Rule(flag, _FLAG),
    "protocol_limit": Rule(_version, "5 or 6"),
    "message_limit": Rule(_message_size, "a number of bytes below 2**32, such as 2**30"),
    "spool_dir": Rule(optional(existing_folder), "the path of a folder"),
    "synchronous_standby": Rule(seconds, _SECONDS),
    "drain_timeout": Rule(seconds, _SECONDS),
    "pack_at_stop": Rule(_at_stop, "'interrupt' or 'wait'"),
    "register_timeout": Rule(_more_than_none, _SECONDS),
    "register_bytes": Rule(_some_bytes, _BYTES),
    "connection_limit": Rule(optional(_count), f"{_COUNT}, or None"),
    "address_limit": Rule(optional(_count), f"{_COUNT}, or None"),
    "unregistered_limit": Rule(optional(_count), f"{_COUNT}, or None"),
    "message_memory": Rule(_some_bytes, _BYTES),
    "send_limit": Rule(_some_bytes, _BYTES),
    "send_memory": Rule(_some_bytes, _BYTES),
    "spool_memory": Rule(size, _BYTES),
    "spool_limit": Rule(_some_bytes, _BYTES),
    "disk_reserve": Rule(size, "a number of bytes, such as 256 * 1024**2, or 0"),
    "file_limit": Rule(optional(_count), f"{_COUNT}, or None"),
    "call_limit": Rule(_count, _COUNT),
    "call_total": Rule(_count, _COUNT),
    "download_files": Rule(optional(_count), f"{_COUNT}, or None"),
    "iterator_files": Rule(optional(_count), f"{_COUNT}, or None"),
    "iterator_limit": Rule(_count, _COUNT),
    "iterator_timeout": Rule(_more_than_none, _SECONDS),
    "transaction_limit": Rule(_some_bytes, _BYTES),
    "operation_limit": Rule(_count, _COUNT),
    "client_timeout": Rule(longest_silence, f"{_SECONDS}, or 0 for ever"),
}

#: The arguments of `zeotwisted.storageserver.service.StorageServer`.
STORAGE_SERVER: Table = {
    "storages": Rule(_storages, "a mapping of names to storages, such as {'1': storage}"),
    "options": Rule(optional(_options), "ServerOptions(transaction_timeout=300), or None"),
    "access": Rule(optional(_access), _ACCESS),
}

#: The arguments of `zeotwisted.storageserver.service.StorageServer.listen`.
LISTEN: Table = {
    "endpoint": Rule(
        _endpoint, "an endpoint, such as serverFromString(reactor, 'tcp:8100') returns"
    ),
    "access": Rule(optional(_access), _ACCESS),
}
