"""Counts the steps by which Python code reaches the disk, and makes one of them fail.

While a `Disk` is in use, it stands for the functions of `os` that reach the disk, and for `open`.
Files that are opened meanwhile below its folder pass each read and write of theirs through it; the
buffers above them are Python's own. Everything else is left to the system.

It needs ``/proc``, to find the file of a descriptor.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

__all__ = [
    "BROKEN",
    "ENDED",
    "FULL",
    "GONE",
    "KILLED",
    "KILLED_IN_A_WRITE",
    "SHORT",
    "TORN",
    "Disk",
    "Fault",
    "Kind",
]

#: Python's own, also while a `Disk` stands for it.
_open = open
_FUNCTION = type(open)

#: The exit code of a process that was ended at a step.
ENDED = 77


class Kind(Enum):
    """What a step does, as far as faults are concerned."""

    READ = "reads"
    #: Writes bytes, so that a part of them may be written.
    WRITE = "writes bytes"
    #: Takes room on the disk in another way, so that it fails when the disk is full.
    ROOM = "takes room"
    OTHER = "changes something else"


#: The functions whose first argument is a descriptor.
_OF_DESCRIPTORS = {
    "read": Kind.READ,
    "pread": Kind.READ,
    "write": Kind.WRITE,
    "pwrite": Kind.WRITE,
    "ftruncate": Kind.OTHER,
    "posix_fallocate": Kind.ROOM,
    "fsync": Kind.ROOM,
    "fdatasync": Kind.ROOM,
    "fchmod": Kind.OTHER,
    "fchown": Kind.OTHER,
}
#: The functions of one path, or of a descriptor in its place.
_OF_ONE_PATH = {
    "mkdir": Kind.ROOM,
    "truncate": Kind.OTHER,
    "chmod": Kind.OTHER,
    "chown": Kind.OTHER,
    "utime": Kind.OTHER,
    "rmdir": Kind.OTHER,
    "unlink": Kind.OTHER,
    "remove": Kind.OTHER,
}
#: The functions of two paths.
_OF_TWO_PATHS = dict.fromkeys(("rename", "replace", "link", "symlink"), Kind.ROOM)

_REMOVING = frozenset({"rmdir", "unlink", "remove"})


class Fault(NamedTuple):
    """What happens at a step."""

    name: str
    #: The kinds of steps that it can happen to. Only these are counted.
    kinds: frozenset[Kind]
    #: The number of the error; 0 for none; None if the process ends.
    error: int | None
    #: Which part of a write is done before, in percent.
    part: int = 0
    #: Whether a write says how much it has written, as the system does; the next step fails then.
    short: bool = False
    #: Whether all following steps of these kinds fail, too.
    stays: bool = False


_CHANGES = frozenset({Kind.WRITE, Kind.ROOM, Kind.OTHER})
_WRITES = frozenset({Kind.WRITE})

BROKEN = Fault("one step fails", frozenset(Kind), errno.EIO)
GONE = Fault("all further steps fail", frozenset(Kind), errno.EIO, stays=True)
TORN = Fault("a write stops in the middle", _WRITES, errno.EIO, part=50, short=True)
FULL = Fault(
    "the disk is full", frozenset({Kind.WRITE, Kind.ROOM}), errno.ENOSPC, 50, short=True, stays=True
)
SHORT = Fault("a write takes a part", _WRITES, 0, part=50, short=True)
KILLED = Fault("killed", _CHANGES, None)
KILLED_IN_A_WRITE = Fault("killed in a write", _WRITES, None, part=50)


class Disk:
    """The disk below a folder. Use it as a context manager; then it does what the system does.

    :param folder: other files are left alone.
    :ivar count: how many steps there were since `arm`, of the kinds of its fault.
    :ivar reached: whether there was a fault.
    :ivar unsynced: the files that were written, and not synced since.
    :ivar not_removed: what could not be removed because of a fault.
    :ivar trace: the names of the steps since `arm`, and the base names of their files.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._fault: Fault | None = None
        self._at = 0
        self._replaced: list[tuple[dict[str, Any], str, Any]] = []
        self.count = 0
        self.reached = False
        self.unsynced: set[str] = set()
        self.not_removed: set[str] = set()
        self.trace: list[tuple[str, str]] = []

    # Faults.

    def arm(self, fault: Fault, at: int) -> None:
        """Have the fault happen at the step with this number, from 1 on."""
        self._fault, self._at = fault, at
        self.count = 0
        self.reached = False
        self.trace.clear()

    def mend(self) -> None:
        """Let all steps succeed from now on."""
        self._fault = None

    def step(
        self, kind: Kind, name: str, paths: list[str], do: Callable[..., Any], data: Any = None
    ) -> Any:
        """Do a step, unless it is to fail.

        :param do: is called with as much of `data` as is to be written; without, if that is None.
        """
        fault = self._fault
        if fault is not None:
            self.trace.append((name, os.path.basename(paths[0])))
            if kind in fault.kinds:
                self.count += 1
                if self.count == self._at or (self.reached and self._goes_on(fault)):
                    first, self.reached = not self.reached, True
                    return self._fail(fault, first, name, paths, do, data)
        result = do() if data is None else do(data)
        self._note(kind, name, paths)
        return result

    def _goes_on(self, fault: Fault) -> bool:
        return fault.stays or (fault.short and bool(fault.error) and self.count == self._at + 1)

    def _fail(
        self, fault: Fault, first: bool, name: str, paths: list[str], do: Any, data: Any
    ) -> int:
        if data is not None and first and (part := len(data) * fault.part // 100):
            written: int = do(memoryview(data)[:part])
            self._note(Kind.WRITE, name, paths)
            if fault.short:
                return written
        if fault.error is None:
            os._exit(ENDED)
        if not fault.error:
            return int(do() if data is None else do(data))
        if name in _REMOVING:
            self.not_removed.add(paths[0])
        raise OSError(fault.error, os.strerror(fault.error), paths[0])

    def _note(self, kind: Kind, name: str, paths: list[str]) -> None:
        if kind is Kind.WRITE:
            self.unsynced.add(paths[0])
        elif name in ("fsync", "fdatasync", "remove", "unlink"):
            self.unsynced.discard(paths[0])
        elif name in ("rename", "replace"):
            old, new = paths
            self.unsynced.discard(new)
            if old in self.unsynced:
                self.unsynced.remove(old)
                self.unsynced.add(new)

    # In the place of the system's functions.

    def __enter__(self) -> Disk:
        instead: dict[Any, Any] = {_open: self.open, os.open: self._wrap_open(os.open)}
        for name, kind in _OF_DESCRIPTORS.items():
            self._wrap(instead, name, kind, 1)
        for name, kind in _OF_ONE_PATH.items():
            self._wrap(instead, name, kind, 1)
        for name, kind in _OF_TWO_PATHS.items():
            self._wrap(instead, name, kind, 2)
        # Other modules have bound some of these functions to names of their own.
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", None)
            if not isinstance(names, dict) or module.__name__ in (__name__, "posix"):
                continue
            for name, value in list(names.items()):
                if type(value) is _FUNCTION and value in instead:
                    self._replaced.append((names, name, value))
                    names[name] = instead[value]
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._replaced:
            names, name, value = self._replaced.pop()
            names[name] = value

    def _wrap(self, instead: dict[Any, Any], name: str, kind: Kind, paths: int) -> None:
        # Not every system has all of them.
        real = getattr(os, name, None)
        if real is None:
            return

        def call(*args: Any, **kwargs: Any) -> Any:
            found = self._inside(args[:paths], kwargs)
            if found is None:
                return real(*args, **kwargs)
            if kind is Kind.WRITE:
                number, data, *rest = args
                return self.step(
                    kind, name, found, lambda part: real(number, part, *rest, **kwargs), data
                )
            return self.step(kind, name, found, lambda: real(*args, **kwargs))

        instead[real] = call

    def _wrap_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            found = self._inside((path,), kwargs)
            if found is None:
                return real(path, flags, *args, **kwargs)
            nameless = flags & getattr(os, "O_TMPFILE", 0) == getattr(os, "O_TMPFILE", -1)
            makes = nameless or (flags & os.O_CREAT and not os.path.exists(found[0]))
            changes = Kind.OTHER if flags & os.O_TRUNC else Kind.READ
            return int(
                self.step(
                    Kind.ROOM if makes else changes,
                    "open",
                    found,
                    lambda: real(path, flags, *args, **kwargs),
                )
            )

        return call

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Do what the built-in `open` does, with the layers that it uses."""
        if self._inside((file,), {}) is None:
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        plain = mode.replace("b", "").replace("t", "")
        raw = _File(self, file, plain, closefd, opener or _opener)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffered: Any
        if "+" in plain:
            buffered = io.BufferedRandom(raw, size)
        elif plain == "r":
            buffered = io.BufferedReader(raw, size)
        else:
            buffered = io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)
        text.mode = mode
        return text

    def _inside(self, places: tuple[Any, ...], options: dict[str, Any]) -> list[str] | None:
        """Return the paths of files, or None if none of them is below the folder."""
        paths = [self.path(place, options.get("dir_fd")) for place in places]
        return paths if any(map(self._is_inside, paths)) else None

    def _is_inside(self, path: str) -> bool:
        return path == self._folder or path.startswith(self._folder + os.sep)

    def path(self, place: Any, folder: int | None = None) -> str:
        """Return the path of a file that is given by its name or its descriptor."""
        if isinstance(place, int):
            return os.readlink(f"/proc/self/fd/{place}")
        name = os.path.join("" if folder is None else self.path(folder), os.fspath(place))
        return os.path.abspath(name)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o666)


class _File(io.FileIO):
    """A file without a buffer, whose reads and writes are steps."""

    def __init__(self, disk: Disk, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        super().__init__(file, mode, closefd, None if isinstance(file, int) else opener)
        self._disk = disk

    def _step(self, kind: Kind, name: str, do: Callable[..., Any], data: Any = None) -> Any:
        return self._disk.step(kind, name, [self._disk.path(self.fileno())], do, data)

    def write(self, data: Any) -> int:
        return int(self._step(Kind.WRITE, "write", super().write, memoryview(data).cast("B")))

    def truncate(self, size: int | None = None) -> int:
        return int(self._step(Kind.OTHER, "ftruncate", lambda: io.FileIO.truncate(self, size)))

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self._step(Kind.READ, "read", lambda: io.FileIO.read(self, size)))

    def readall(self) -> bytes:
        return bytes(self._step(Kind.READ, "read", lambda: io.FileIO.readall(self)))

    def readinto(self, buffer: Any) -> int:
        return int(self._step(Kind.READ, "read", lambda: io.FileIO.readinto(self, buffer)))
