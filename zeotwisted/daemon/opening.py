"""Opens the storages of a configuration, and says in one line why one cannot be opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import zc.lockfile
from ZODB.FileStorage.FileStorage import FileStorageFormatError

from zeotwisted import postgresql
from zeotwisted.config import StorageOpener, unfinished_problem
from zeotwisted.storageserver import NotServable, check_servable

from .reactorwatch import ReactorTaken, ReactorWatch

__all__ = ["StartError", "close_storages", "explain_file", "open_storages"]


class StartError(SystemExit, Exception):
    """The daemon cannot start; the text says why, in one line.

    It is an Exception because twistd's background process reports only those to the terminal. It is
    a SystemExit because Python then prints no traceback.
    """


def open_storages(openers: Sequence[StorageOpener], watch: ReactorWatch) -> dict[str, Any]:
    """Return the open storages by name.

    :param watch: watches the daemon's reactor.
    :raises StartError: a storage cannot be opened, or cannot be served. The storages that were
        opened before it are closed.
    """
    storages: dict[str, Any] = {}
    for opener in openers:
        problem = unfinished_problem(opener.section)
        if problem is not None:
            close_storages(storages)
            raise StartError("cannot open storage {!r}: {}; {}".format(opener.name, *problem))
        try:
            storages[opener.name] = watch.opened(opener.open)
            check_servable(storages)
        except NotServable as error:
            close_storages(storages)
            raise StartError(str(error)) from None
        except ReactorTaken:
            close_storages(storages)
            raise StartError(
                f"cannot serve storage {opener.name!r}: it runs Twisted's reactor in a thread of "
                "its own, and so does this daemon; leave it to ZEO's runzeo, or serve another kind"
            ) from None
        except Exception as error:
            close_storages(storages)
            config = getattr(opener.section, "config", None)
            path, packer = getattr(config, "path", None), getattr(config, "packer", None)
            raise StartError(
                f"cannot open storage {opener.name!r}: {_explain_opening(error, path, packer)}"
            ) from None
    return storages


def close_storages(storages: Mapping[str, Any]) -> None:
    """Close storages that are not served."""
    for storage in storages.values():
        storage.close()


#: What a FileStorage raises if the name of its packer is wrong.
_BAD_PACKER = (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError)


#: The file whose lock another process has, in the text of the error.
_LOCKED = re.compile(r"'([^']+?)(?:\.lock)?'$")


def _explain_opening(error: Exception, path: str | None, packer: str | None = None) -> str:
    if isinstance(error, zc.lockfile.LockError):
        # The file of a storage within another one is known only from the text.
        locked = _LOCKED.search(str(error))
        name = path or (locked[1] if locked else error)
        return (
            f"{name} is locked, since another process has it open; stop that process, or serve "
            "another file"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return explain_file(error)
    if isinstance(error, FileStorageFormatError):
        return f"{path or error} is not a file of a FileStorage; check the path"
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    if packer is not None and isinstance(error, _BAD_PACKER):
        return f"packer {packer} cannot be used ({what}); install its package, or correct the line"
    if isinstance(error, ImportError):
        return f"{what}; install the package that is missing, or correct the configuration"
    if path is None:
        explained = postgresql.explain(error)
        if explained is not None:
            return explained
        return f"{what}; check its configuration"
    return f"{path} cannot be read ({what}); check the path, or restore the file from a backup"


def explain_file(error: OSError) -> str:
    """Return what is wrong with the file of an error, and the remedy."""
    # An error of os.link, os.symlink or os.rename has two names. The second one is the new name,
    # which the configuration contains.
    name = os.path.abspath(os.fsdecode(error.filename2 or error.filename))
    folder = os.path.dirname(name)
    if isinstance(error, FileNotFoundError) and not os.path.isdir(folder):
        return f"the folder {folder} does not exist; create it, or choose another one"
    return f"{name}: {error.strerror}; check the path"
