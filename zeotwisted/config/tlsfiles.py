"""The files of an ``<ssl>`` section, from which a new context can be made when they change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from .tls import SIGNED, certificate_files, server_context

__all__ = ["FileState", "TLSFiles", "file_states", "section_state"]

#: What changes with a file: its time (ns), its size (bytes), its number.
FileState = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class TLSFiles:
    """The values of an <ssl> section of a server, with absolute paths.

    The attributes have the names of the section's keys, as `server_context` needs them.
    """

    certificate: str
    key: str | None
    authenticate: str
    password_function: str | None
    server_hostname: None = None
    check_hostname: bool = True

    @classmethod
    def of(cls, section: Any) -> TLSFiles:
        """Return those of a section that `server_context` accepts."""
        trusted = section.authenticate
        return cls(
            _absolute(section.certificate),
            None if section.key is None else _absolute(section.key),
            trusted if trusted in SIGNED else _absolute(trusted),
            section.password_function,
        )

    def context(self) -> SSLContext:
        """Read the files.

        :raises ContextError: one of them cannot be used.
        """
        return server_context(self)

    @property
    def trusted(self) -> list[str]:
        """The files of the certificates that are named to check clients."""
        if self.authenticate in SIGNED:
            return []
        try:
            return certificate_files(self.authenticate)
        except OSError:
            return []

    def state(self) -> FileState:
        """Return something that is another when a file has changed."""
        return section_state(self)


def section_state(section: Any) -> FileState:
    """Return something that is another when a file has changed that an <ssl> section names."""
    named = (section.certificate, section.key, section.authenticate)
    paths = [os.path.expanduser(path) for path in named if path]
    if section.authenticate:
        folder = os.path.expanduser(section.authenticate)
        paths += [os.path.join(folder, name) for name in _listed(folder)]
    return file_states(paths)


def file_states(paths: Iterable[str]) -> FileState:
    """Return something that is another when one of the files has changed, appeared or gone."""
    return tuple(map(_state, paths))


def _state(path: str) -> tuple[str, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return path, 0, 0, 0
    return path, found.st_mtime_ns, found.st_size, found.st_ino


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
