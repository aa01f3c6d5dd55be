"""The packs of one storage, which end when the server stops, and what they leave.

A FileStorage packs with the function that is its `packer`, an argument of its constructor. Ours is
ZODB's own packer, which asks before each record whether it may go on. A packer of the application's
is kept. It is interrupted where it calls the function for references, as are other storages.
"""

from __future__ import annotations

import os
import time as wallclock
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.logger import Logger
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.FileStorage.fspack import GC, FileStoragePacker
from ZODB.POSException import StorageError
from ZODB.serialize import referencesf

from ..figures import PackReport
from .resolution import resolving_storages
from .threads import InThread

__all__ = ["PackInterrupted", "Packs"]

_log = Logger()


class PackInterrupted(StorageError):
    """A pack has ended before it has changed the storage."""


class Packs:
    """The packs of a storage.

    Call all methods in the reactor's thread.

    :param storage_id: the name of the storage, for messages.
    """

    def __init__(self, storage_id: str, storage: Any) -> None:
        self._storage_id = storage_id
        self._storage = storage
        #: How many run: 0 or 1.
        self.running = 0
        # When it began (seconds since the epoch).
        self._since = 0.0
        #: How far (bytes) a FileStorage's file is copied, and how long it is; threads write them.
        self.copied = 0
        self.length = 0
        #: How far (bytes) it has looked for garbage in that file.
        self.searched = 0
        #: When the copying began (seconds since the epoch).
        self.copying_since = 0.0
        #: Whether those that run have to end; threads read it.
        self.interrupted = False
        # Why, for the error that they end with.
        self._reason = ""
        self._stops = False
        # A FileStorage resolves conflicts, and so it is among these.
        for each in resolving_storages(storage):
            if isinstance(each, FileStorage) and each.packer is FileStorage.packer:
                each.packer = partial(_pack, self)
                if not each.isReadOnly():
                    _remove_remains(os.path.abspath(f"{each.getName()}.pack"))

    async def run(self, in_thread: InThread, time: float) -> None:
        """Pack in a thread.

        :raises ZODB.POSException.StorageError: a pack runs already.
        :raises PackInterrupted: `interrupt` or `cancel` was called; the storage is as before.
        """
        self.check_idle()
        self._since = wallclock.time()
        self.copied = self.searched = self.length = 0
        self.running += 1
        try:
            await in_thread(self._storage.pack, time, self._references)
        except _Stopped:
            error = PackInterrupted(
                f"the pack of {self._storage_id!r} is interrupted, because {self._reason}; "
                "the storage is as before, so pack it again later"
            )
            _log.warn("{error}", error=error)
            raise error from None
        finally:
            self.running -= 1
            if not self.running and not self._stops:
                self.interrupted = False

    def check_idle(self) -> None:
        """Check that no pack runs.

        Each would use one of the few threads for slow calls, and has nothing to do.

        :raises ZODB.POSException.StorageError: one does.
        """
        if self.running:
            since = wallclock.strftime("%Y-%m-%d %H:%M:%S UTC", wallclock.gmtime(self._since))
            raise StorageError(
                f"storage {self._storage_id!r} is being packed already, since {since}; wait for "
                "that pack, or cancel it"
            )

    def report(self) -> PackReport:
        """Return whether a pack runs, since when, and how much of it is done."""
        if not self.running:
            return PackReport(0, None, None, None)
        searched = self._part(self.searched)
        done = self._part(self.copied)
        if not done:
            return PackReport(self.running, self._since, None, None, searched)
        left = (wallclock.time() - self.copying_since) * (1 - done) / done
        return PackReport(self.running, self._since, done, max(0.0, left), searched)

    def _part(self, position: int) -> float | None:
        return min(1.0, position / self.length) if position else None

    def room(self) -> tuple[int, int] | None:
        """Return how many bytes a pack may write at most, and how many are free on that disk.

        None if this is not known: the storage keeps no files here.
        """
        for each in resolving_storages(self._storage):
            if isinstance(each, FileStorage):
                path = os.path.abspath(each.getName())
                disk = os.statvfs(os.path.dirname(path))
                free = disk.f_bavail * disk.f_frsize
                with suppress(FileNotFoundError):
                    # It removes the copy that the last pack has left before it writes.
                    free += os.path.getsize(f"{path}.old")
                return os.path.getsize(path), free
        return None

    def interrupt(self) -> None:
        """Have packs end, as the server stops, unless they have replaced the file already."""
        self._reason = "the server stops"
        self._stops = self.interrupted = True

    def cancel(self) -> int:
        """Have the pack end that runs now, as `interrupt` does; return how many there are."""
        if self.running and not self._stops:
            self._reason = "it was cancelled"
            self.interrupted = True
        return self.running

    def _references(self, data: bytes, oids: list[bytes] | None = None) -> list[bytes]:
        if self.interrupted:
            raise _Stopped
        references: list[bytes] = referencesf(data, oids)
        return references


class _Stopped(OSError):
    """A pack may not go on. The packer removes what it has written after an OSError only."""


def _remove_remains(path: str) -> None:
    """Remove the file that a pack had begun to write when its process was killed.

    Only the process that has the storage open packs it, and this is now the one.
    """
    try:
        size = os.path.getsize(path)
        os.remove(path)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warn(
            "{path}, which a pack has left, cannot be removed: {error}; remove it yourself",
            path=path,
            error=error.strerror,
        )
    else:
        _log.info(
            "removed {path} ({size} bytes), which a pack that was killed has left",
            path=path,
            size=size,
        )


class _Asking(FileStorageFormatter):
    """Asks before each record whether the pack may go on; a mix-in for the parts of a packer.

    It says how far the search for garbage is.
    """

    def __init__(self, packs: Packs, *args: Any) -> None:
        self._packs = packs
        super().__init__(*args)

    def _read_data_header(self, pos: int, oid: bytes | None = None, _file: Any = None) -> Any:
        # A pack reads millions of them. `super()` and a call would slow it down by a third.
        packs = self._packs
        if packs.interrupted:
            raise _Stopped
        # It looks up earlier records, too.
        if pos > packs.searched:
            packs.searched = pos
        return FileStorageFormatter._read_data_header(self, pos, oid, _file)


class _Search(_Asking, GC):
    """Looks for garbage."""


class _Packer(_Asking, FileStoragePacker):
    """Copies what stays."""

    def __init__(self, packs: Packs, storage: Any, referencesf: Any, stop: bytes, gc: bool) -> None:
        super().__init__(packs, storage, referencesf, stop, gc)
        self.gc = _Search(packs, self._file, self.file_end, stop, gc, referencesf)
        packs.length = self.file_end

    def _read_data_header(self, pos: int, oid: bytes | None = None, _file: Any = None) -> Any:
        packs = self._packs
        if packs.interrupted:
            raise _Stopped
        # It looks up earlier records, too.
        if pos > packs.copied:
            if not packs.copied:
                packs.copying_since = wallclock.time()
            packs.copied = pos
        return FileStorageFormatter._read_data_header(self, pos, oid, _file)


def _pack(
    packs: Packs, storage: Any, referencesf: Any, stop: bytes, gc: bool
) -> tuple[int, Any] | None:
    """Pack as ZODB's packer does, until `packs` is interrupted; see ``IFileStoragePacker``."""
    packer = _Packer(packs, storage, referencesf, stop, gc)
    try:
        size = packer.pack()
        return None if size is None else (size, packer.index)
    finally:
        packer.close()
