"""``zeotwisted://host:port?...``: the URIs with which zodburi opens a zeotwisted client.

zodburi finds `resolve` by an entry point. This module does not import zodburi.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ZConfig.datatypes import SuffixMultiplier

from .loader import ConfigurationError

__all__ = ["resolve"]

#: The port if the URI has none; zodburi uses the same one for ZEO.
_PORT = 9991

_FLAGS = {"1": True, "yes": True, "on": True, "true": True, "t": True, "y": True} | {
    "0": False, "no": False, "off": False, "false": False, "f": False, "n": False,
}  # fmt: skip

_size = SuffixMultiplier({"kb": 1024, "mb": 1024**2, "gb": 1024**3})


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _auto_or_flag(text: str) -> bool | str:
    return "auto" if text.lower() == "auto" else _flag(text)


def _group_or_flag(text: str) -> bool | str:
    return _FLAGS.get(text.lower(), text)


#: Arguments of the client in a URI, and the functions that convert them. All other arguments are
#: for the database.
_ARGUMENTS: dict[str, Callable[[str], Any]] = {
    "storage": str,
    "name": str,
    "cache": str,
    "cache_size": _size,
    "client": str,
    "var": str,
    "client_label": str,
    "blob_dir": str,
    "blob_cache_size": _size,
    "blob_cache_size_check": int,
    "shared_blob_dir": _flag,
    "read_only": _flag,
    "read_only_fallback": _flag,
    "wait": _flag,
    "wait_timeout": float,
    "liveness_timeout": float,
    "server_sync": _flag,
    "refuse_older_server": _flag,
    "read_ahead": _auto_or_flag,
    "warm_start": _group_or_flag,
    "commit_lock_timeout": float,
    "username": str,
    "password": str,
    "password_file": str,
    "realm": str,
}

#: Arguments of zodburi's ``zeo://`` that have no effect here.
_WITHOUT_EFFECT = {
    "debug", "min_disconnect_poll", "max_disconnect_poll", "wait_for_server_on_startup",
    "drop_cache_rather_verify",
}  # fmt: skip


def resolve(uri: str) -> tuple[Callable[[], Any], dict[str, str]]:
    """Return a function that opens the storage, and the URI's arguments for the database.

    :param uri: ``zeotwisted://host:port?storage=1&wait_timeout=5``, or
        ``zeotwisted:///path/of/socket?...``; the arguments are those of `ClientStorage`.
    :raises ConfigurationError: the port or an argument of the client is invalid.
    """
    parts = urlsplit(uri)
    try:
        port = _PORT if parts.port is None else parts.port
    except ValueError:
        raise ConfigurationError(
            # Not the arguments: there may be a password among them.
            f"{uri.partition('?')[0]!r} has no port from 1 to 65535; write zeotwisted://host:port"
        ) from None
    addr: Any = (parts.hostname or "127.0.0.1", port)
    if not parts.netloc:
        addr = os.path.normpath(unquote(parts.path))
    arguments: dict[str, Any] = {}
    rest: dict[str, str] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        if name in _ARGUMENTS:
            arguments[name] = _value(name, text)
        elif name not in _WITHOUT_EFFECT:
            rest[name] = text

    def open_storage() -> Any:
        from zeotwisted.clientstorage import ClientStorage

        return ClientStorage(addr, **arguments)

    return open_storage, rest


def _value(name: str, text: str) -> Any:
    try:
        return _ARGUMENTS[name](text)
    except (ValueError, KeyError):
        example = {_flag: "1 or 0", _auto_or_flag: "auto, 1 or 0", _size: "20MB"}.get(
            _ARGUMENTS[name], "a number"
        )
        raise ConfigurationError(f"{name}={text} cannot be used; write {name}={example}") from None
