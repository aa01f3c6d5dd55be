"""Opens any storage: a server's by its URI, or one by its section in a configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import gettempdir
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from zeotwisted.backup import workplace
from zeotwisted.config import ConfigurationError, parse_storages, resolve

from .errors import CommandError

__all__ = ["name_of", "opened"]

_SCHEMES = ("zeotwisted://", "zeo://")

#: How much room (bytes) blobs of a server take that has no ``blob_dir`` in its URI.
_BLOBS = 512 * 1024 * 1024


@contextmanager
def opened(text: str) -> Iterator[Any]:
    """Open a storage, and close it at the end.

    :param text: ``zeotwisted://host:port?storage=1``, with the arguments of a client, or the path
        of a file with sections of storages, and ``#NAME`` behind it if there are several.
    :raises CommandError: it cannot be opened.
    """
    # Warnings of storages, such as that there is no index yet, say nothing about the copy.
    logging.basicConfig(level=logging.ERROR, format="zeotwisted: %(name)s: %(message)s")
    logging.getLogger("zeotwisted").setLevel(logging.CRITICAL)
    with workplace(gettempdir()) as folder:
        try:
            storage = _by_uri(text, folder) if text.startswith(_SCHEMES) else _by_section(text)
        except CommandError:
            raise
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        except Exception as error:
            # Storages of other packages may raise anything.
            raise CommandError(
                f"{name_of(text)} cannot be opened: {type(error).__name__}: {error}"
            ) from None
        with closing(storage):
            yield storage


def name_of(text: str) -> str:
    """Return a storage's name for messages; there may be a password behind the question mark."""
    return text.partition("?")[0]


def _by_uri(text: str, folder: str) -> Any:
    parts = urlsplit(text)
    arguments = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "blob_dir" not in arguments:
        arguments |= {"blob_dir": os.path.join(folder, "blobs"), "blob_cache_size": str(_BLOBS)}
    query = urlencode({"wait_timeout": "10", "warm_start": "false", **arguments})
    uri = urlunsplit(("zeotwisted", parts.netloc, parts.path, query, ""))
    open_storage, rest = resolve(uri)
    if rest:
        raise CommandError(
            f"{name_of(text)}: {', '.join(rest)} is no argument of a client; leave it out"
        )
    return open_storage()


def _by_section(text: str) -> Any:
    path, _, name = text.partition("#")
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = file.read()
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not a text in UTF-8; name a file with sections") from None
    except OSError as error:
        raise CommandError(
            f"{path}: {error.strerror}; write the path of a file with the section of a storage, or "
            "a URI such as zeotwisted://127.0.0.1:8100"
        ) from None
    try:
        storages = {each.name: each for each in parse_storages(content)}
    except ConfigurationError as error:
        raise CommandError(f"{path}: {error}") from None
    if not name and len(storages) > 1:
        raise CommandError(f"{path} has several storages; add #NAME: {', '.join(storages)}")
    if name and name not in storages:
        raise CommandError(f"{path} has no storage {name}; it has {', '.join(storages)}")
    return storages[name or next(iter(storages))].open()
