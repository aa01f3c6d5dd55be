"""Encodes the user, description and extension of a transaction for the server.

Version 6 sends an extension in its stored form, version 5 sends a dict. See
`zeotwisted.protocol.extensions`. `history.logs` decodes them.
"""

from __future__ import annotations

from typing import Any

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.protocol import stored

__all__ = ["encoded", "extension_dict", "stored_extension"]


def encoded(text: Any) -> Any:
    """Return a user or a description as storages keep it: as bytes."""
    # A lone surrogate must not make the commit fail.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def stored_extension(txn: Any) -> bytes:
    """Return the extension of a transaction in its stored form.

    :raises ClientStorageError: it contains something that cannot be pickled.
    """
    try:
        extension = getattr(txn, "extension_bytes", None)
        return extension if isinstance(extension, bytes) else stored(txn.extension)
    except Exception as error:
        raise _refused(error) from error


def extension_dict(txn: Any, encoding: bytes) -> dict[Any, Any]:
    """Return the extension of a transaction for a server of version 5.

    :param encoding: the letter of the encoding.
    :raises ClientStorageError: it cannot be loaded, or ZEO's servers would close the connection.
    """
    try:
        # A copy: the extension of a storage's iterator may be an instance of another class.
        extension = dict(txn.extension.items())
    except Exception as error:
        raise _refused(error) from error
    if encoding == b"M":
        _check_keys(extension)
    return extension


def _refused(error: Exception) -> ClientStorageError:
    return ClientStorageError(f"the transaction's extension cannot be sent: {error}")


def _check_keys(extension: dict[Any, Any]) -> None:
    waiting: list[Any] = [extension]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, (str, bytes)):
                    raise ClientStorageError(
                        "the transaction's extension cannot be sent: a server of version 5 with "
                        f"msgpack takes strings and bytes as keys, not {key!r}"
                    )
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value
