"""The storages behind the daemon, as ZConfig sections."""

from __future__ import annotations

from pathlib import Path


def filestorage(directory: Path) -> str:
    return f"<filestorage>\n path {directory / 'Data.fs'}\n</filestorage>\n"


def mappingstorage(directory: Path) -> str:
    return "<mappingstorage>\n</mappingstorage>\n"


def demostorage(directory: Path) -> str:
    """Return a DemoStorage that keeps its changes in memory, as by default."""
    return f"<demostorage>\n{filestorage(directory)}</demostorage>\n"


def demostorage_on_file(directory: Path) -> str:
    """Return a DemoStorage that keeps its changes in a file."""
    return f"""\
<demostorage>
 <filestorage base>
  path {directory / "Base.fs"}
 </filestorage>
 <filestorage changes>
  path {directory / "Changes.fs"}
 </filestorage>
</demostorage>
"""


def _relstorage(directory: Path, keeps_history: bool) -> str:
    return f"""\
%import relstorage
<relstorage>
 keep-history {str(keeps_history).lower()}
 blob-dir {directory / "blobs"}
 shared-blob-dir false
 <sqlite3>
  data-dir {directory / "sqlite"}
 </sqlite3>
</relstorage>
"""


def relstorage(directory: Path) -> str:
    """Return a RelStorage that keeps history, on SQLite."""
    return _relstorage(directory, True)


def relstorage_without_history(directory: Path) -> str:
    """Return a RelStorage that keeps the last revisions only, on SQLite."""
    return _relstorage(directory, False)


BACKENDS = {
    backend.__name__: backend
    for backend in (
        filestorage,
        mappingstorage,
        demostorage,
        demostorage_on_file,
        relstorage,
        relstorage_without_history,
    )
}

#: Those that keep the last revision of each object only.
WITHOUT_HISTORY = {"relstorage_without_history"}
