"""Where the files of a piece go: into a folder, or into a stream."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, Protocol

__all__ = ["FolderOutput", "Output", "StreamOutput", "sync_folder", "sync_tree"]

#: A file of a stream is kept in memory up to this size, in bytes; then in a temporary file.
_IN_MEMORY = 8 * 2**20

#: How many threads wait for the disk, and how many files they get at a time.
THREADS = 16
_AT_A_TIME = 1000


class Output(Protocol):
    """Where the files of a piece go."""

    def create(self, name: str) -> Any:
        """Return a context manager of a new file, which is open for writing.

        The file is complete when the context ends without an exception.

        :param name: the path in the piece, with slashes.
        """


def sync_folder(path: str) -> None:
    """Wait until the names in a folder are on the disk."""
    _sync(path)


def sync_tree(path: str) -> None:
    """Wait until all files and names below a folder are on the disk.

    Several threads wait, because a disk can write several files in the time that it takes for one.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        paths = _all(path)
        # Some at a time, for memory's sake.
        while some := list(islice(paths, _AT_A_TIME)):
            for _ in threads.map(_sync, some):
                pass


def _all(path: str) -> Iterator[str]:
    for folder, _, names in os.walk(path, onerror=_fail):
        yield folder
        for name in names:
            yield os.path.join(folder, name)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fail(error: OSError) -> None:
    raise error


class FolderOutput:
    """Writes files into a folder. `sync` waits until all of them are on the disk.

    :param path: the folder, which is there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._folders: set[str] = {path}

    def path(self, name: str) -> str:
        """Return the path that a file has until the piece is complete."""
        return os.path.join(self._path, name)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Create a file; make the folder that it is in."""
        path = self.path(name)
        self._make(os.path.dirname(path))
        with open(path, "xb") as file:
            yield file

    def _make(self, folder: str) -> None:
        if folder not in self._folders:
            self._make(os.path.dirname(folder))
            os.mkdir(folder, 0o700)
            self._folders.add(folder)

    def sync(self) -> None:
        """Wait until all of it is on the disk."""
        sync_tree(self._path)


class _Once:
    """Raises the error of a stream once: `tarfile` writes again when it is thrown away."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._has_failed = False

    def write(self, data: bytes) -> int:
        """Write all; after an error, nothing."""
        if self._has_failed:
            return len(data)
        try:
            return self._stream.write(data)
        except OSError:
            self._has_failed = True
            raise


class StreamOutput:
    """Writes files into a tar stream. Each is kept until its size is known.

    :param stream: is open for writing.
    :param folder: is put before the names.
    """

    def __init__(self, stream: IO[bytes], folder: str) -> None:
        self._folder = folder
        self._stream = stream
        to: Any = _Once(stream)
        self._tar = tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """Add a file."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            yield file
            size = file.tell()
            file.seek(0)
            self._add(f"{self._folder}/{name}", file, size)

    def add_text(self, name: str, text: str) -> None:
        """Add a text, outside of the folder."""
        content = text.encode()
        self._add(name, io.BytesIO(content), len(content))

    def _add(self, name: str, file: Any, size: int) -> None:
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o600
        member.mtime = int(time.time())
        self._tar.addfile(member, file)
        # It would keep all of them in memory.
        self._tar.members.clear()  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the stream."""
        self._tar.close()
        self._stream.flush()
