"""Unpacks a backup that was written to a stream."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .errors import BackupError, DamagedBackup
from .names import MEMBER
from .target import Target
from .workplaces import workplace

__all__ = ["opened"]


@contextmanager
def opened(path: str, stream: IO[bytes], near: str) -> Iterator[Target]:
    """Open a backup: a folder, or a stream that was kept in a file.

    :param path: the folder, or the file; ``-`` for `stream`.
    :param near: a stream is unpacked into a new folder in this one, which is removed afterwards.
    :raises BackupError: it is no backup.
    """
    if path != "-" and not os.path.isfile(path):
        target = Target(path)
        target.check()
        yield target
        return
    with workplace(near) as place:
        folder = os.path.join(place, "stream")
        os.mkdir(folder, 0o700)
        if path == "-":
            _unpack(stream, folder, "standard input")
        else:
            with open(path, "rb") as file:
                _unpack(file, folder, path)
        target = Target(folder, path)
        if not target.numbers():
            raise BackupError(f"{path} has no backup in it; correct the path")
        yield target


def _unpack(stream: IO[bytes], folder: str, name: str) -> None:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if not MEMBER.fullmatch(member.name) or not member.isfile():
                    raise BackupError(f"{name}: {member.name!r} is not a part of a backup")
                path = os.path.join(folder, member.name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                with open(path, "xb") as file:
                    shutil.copyfileobj(content, file)
                # It would keep all of them in memory.
                tar.members.clear()  # type: ignore[attr-defined]
    except (tarfile.TarError, EOFError) as error:
        raise DamagedBackup(
            f"{name}: is not a whole stream of zeotwisted backup ({error}); make it again"
        ) from None
