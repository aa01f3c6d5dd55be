"""Looks at the files, folders and addresses of a configuration, without opening any of them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import Any

from zeotwisted.arguments import Address, PassedSocket

__all__ = [
    "address_problem",
    "missing_places",
    "sections_within",
    "storage_problems",
    "unfinished_problem",
]

#: A problem: what is wrong, and the remedy.
Problem = tuple[str, str]

#: The first bytes of the files that a FileStorage reads.
_MAGIC = (b"FS21", b"FS30")

#: The attributes of sections that hold other storages.
_WITHIN = ("base", "changes", "storage")


def missing_places(zeo: Any, storages: Sequence[Any]) -> Iterator[tuple[Any, str, str, str]]:
    """Yield section, key, mistake and remedy for each place that cannot be used.

    :param zeo: the value of the section <zeo>.
    :param storages: the values of the sections of storages.
    """
    for section in (zeo, *zeo.listeners, *([zeo.http] if zeo.http else [])):
        problem = None if section.address is None else address_problem(section.address)
        if problem is not None:
            yield section, "address", *problem
    if zeo.pid_filename is not None and not os.access(_folder(zeo.pid_filename), os.W_OK):
        yield (
            zeo,
            "pid-filename",
            f"the folder {_folder(zeo.pid_filename)} is not writable",
            "choose another one, or run zeo as another user",
        )
    if zeo.spool_dir is not None and not os.access(zeo.spool_dir, os.W_OK | os.X_OK):
        yield (
            zeo,
            "spool-dir",
            f"{zeo.spool_dir} is not writable",
            "choose another one, or run zeo as another user",
        )
    for storage in storages:
        yield from storage_problems(storage)


def storage_problems(opener: Any) -> Iterator[tuple[Any, str, str, str]]:
    """Yield the same for the section of a storage, and for the sections in it."""
    for kind, section in sections_within(opener):
        if kind == "FileStorage" and isinstance(section.path, str):
            problem = _file_problem(section.path, bool(section.read_only))
            if problem is not None:
                yield section, "path", *problem
        blobs = getattr(section, "blob_dir", None)
        if isinstance(blobs, str):
            problem = _blobs_problem(blobs)
            if problem is not None:
                yield section, "blob-dir", *problem


def sections_within(opener: Any) -> Iterator[tuple[str, Any]]:
    """Yield the section of a storage, and those of the storages that it wraps.

    :param opener: ZConfig's value of the section. By convention, it has the section as `config`.
    :return: pairs of the opener's class name, such as ``"FileStorage"``, and the section.
    """
    section = getattr(opener, "config", None)
    if section is None:
        return
    yield type(opener).__name__, section
    inner = [getattr(section, name, None) for name in _WITHIN]
    # A <demostorage> has its two in a list.
    inner += getattr(section, "factories", None) or []
    for each in inner:
        if hasattr(each, "open"):
            yield from sections_within(each)


def unfinished_problem(opener: Any) -> Problem | None:
    """Return why a storage must not be opened now, though it could be; None if it may be.

    :param opener: the value of its section.
    """
    for kind, section in sections_within(opener):
        if kind == "FileStorage" and isinstance(section.path, str):
            problem = _unfinished(section.path)
            if problem is not None:
                return problem
    return None


def _unfinished(path: str) -> Problem | None:
    """Return why the file of a FileStorage must not be opened.

    ``repozo -R`` renames its file at the end, without regard to a daemon that has the old one open.
    What is committed there would be lost. A pack renames two files. If it is killed in between, a
    FileStorage would begin an empty file, and its next pack would remove the old one.
    """
    path = os.path.abspath(path)
    part, old, packed = (f"{path}.{ending}" for ending in ("part", "old", "pack"))
    if os.path.exists(part):
        return (
            f"it is being restored, as {part} exists",
            "wait until repozo has ended, or remove that file if repozo does not run",
        )
    if not os.path.exists(path) and os.path.exists(old) and os.path.exists(packed):
        return (
            f"{path} does not exist, but {old} and {packed} do, since a pack was killed",
            f"rename {old} to {path}, and remove {packed}",
        )
    return None


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _file_problem(path: str, read_only: bool) -> Problem | None:
    path = os.path.abspath(os.path.expanduser(path))
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return f"the folder {folder} does not exist", "create it, or choose another one"
    problem = _unfinished(path)
    if problem is not None:
        return problem
    if not os.path.exists(path):
        if read_only:
            return f"{path} does not exist", "correct the path, or remove read-only"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} is not writable", "choose another one, or another user"
        return None
    if not os.path.isfile(path):
        return f"{path} is no file", "correct the path"
    if not os.access(path, os.R_OK if read_only else os.R_OK | os.W_OK):
        return f"{path} cannot be read and written", "correct its permissions, or the user's"
    with open(path, "rb") as file:
        start = file.read(4)
    if start and start not in _MAGIC:
        return f"{path} is not a file of a FileStorage", "correct the path"
    return None


def _blobs_problem(path: str) -> Problem | None:
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.exists(path):
        if not os.path.isdir(path):
            return f"{path} is no folder", "correct the path"
        if not os.access(path, os.R_OK | os.X_OK):
            return f"the folder {path} cannot be read", "correct its permissions, or the user's"
        return None
    # The storage makes the folder, and those above it.
    above = os.path.dirname(path)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not (os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)):
        return f"{path} cannot be made", f"correct the path, or the permissions of {above}"
    return None


def address_problem(address: Address | PassedSocket) -> Problem | None:
    """Return why this machine cannot listen at an address; None if nothing is known against it.

    Whether the port is free is not looked at, because the daemon may be running. Neither are the
    sockets of systemd, which it passes to the daemon only.
    """
    if isinstance(address, PassedSocket):
        return None
    if isinstance(address, str):
        return _socket_problem(address)
    host, _ = address
    if not host:
        return None
    try:
        # Bound at a port of the system's, and without listening, nobody notices this socket.
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.bind(place)
    except (OSError, UnicodeError):
        return f"this machine has no address {host}", "choose one that it has"
    return None


def _socket_problem(path: str) -> Problem | None:
    folder = _folder(path)
    if not os.path.isdir(folder):
        return f"the folder {folder} does not exist", "create it, or choose another one"
    if os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        return f"{path} is there, and is no socket", "remove it, or choose another path"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is not writable", "choose another one, or another user"
    return None
