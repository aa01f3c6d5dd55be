"""The storages behind the daemon, as ZConfig sections."""

from __future__ import annotations

from pathlib import Path

from .databases import databases


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


def mvccmappingstorage(directory: Path) -> str:
    """Return a storage in memory that has views of its own, as RelStorage has."""
    return "%import tests.storageserver.mvcc\n<mvccstorage>\n</mvccstorage>\n"


def _relstorage(directory: Path, keeps_history: bool, database: str) -> str:
    return f"""\
%import relstorage
<relstorage>
 keep-history {str(keeps_history).lower()}
 blob-dir {directory / "blobs"}
 shared-blob-dir false
 {database}
</relstorage>
"""


def _sqlite(directory: Path) -> str:
    return f"<sqlite3>\n  driver sqlite3\n  data-dir {directory / 'sqlite'}\n </sqlite3>"


def relstorage(directory: Path) -> str:
    """Return a RelStorage that keeps history, on SQLite."""
    return _relstorage(directory, True, _sqlite(directory))


def relstorage_without_history(directory: Path) -> str:
    """Return a RelStorage that keeps the last revisions only, on SQLite."""
    return _relstorage(directory, False, _sqlite(directory))


def _postgresql(directory: Path, keeps_history: bool) -> str:
    kept = directory / "dsn"
    if not kept.exists():
        kept.write_text(databases.new(keeps_history))
    return f"<postgresql>\n  driver psycopg2\n  dsn {kept.read_text()}\n </postgresql>"


def relstorage_postgresql(directory: Path) -> str:
    """Return a RelStorage that keeps history, on PostgreSQL."""
    return _relstorage(directory, True, _postgresql(directory, True))


def relstorage_postgresql_without_history(directory: Path) -> str:
    """Return a RelStorage that keeps the last revisions only, on PostgreSQL."""
    return _relstorage(directory, False, _postgresql(directory, False))


BACKENDS = {
    backend.__name__: backend
    for backend in (
        filestorage,
        mappingstorage,
        demostorage,
        demostorage_on_file,
        mvccmappingstorage,
        relstorage,
        relstorage_without_history,
        relstorage_postgresql,
        relstorage_postgresql_without_history,
    )
}

#: Those that keep the last revision of each object only.
WITHOUT_HISTORY = {"relstorage_without_history", "relstorage_postgresql_without_history"}
