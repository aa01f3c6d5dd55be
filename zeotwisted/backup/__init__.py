"""Backups: a second copy of a database, with its blobs, made while others write to it.

A backup is a folder with series of pieces: a full one, and incremental ones that have what has come
since. ``docs/reference/backup-format.rst`` describes the files. Data flows one way:

- `source`: the database, at a server or in a file. `identity` tells whether it is the right one.
- `start`: where a piece begins. `piece` writes it: `records` in FileStorage's format, into the
  files of `parts`; `lookback` finds records that later ones point to.
- `workplaces` makes folders for what is not complete, and removes those of killed processes.
- `outputs`: a folder, or a stream. `target` is a folder with all its series.
- `making` puts these together.
- `selecting` finds the pieces for a state, `restoring` writes a new database, `readback` compares
  it with what was backed up, `losses` has the damaged blobs that are left out. `checking` does
  without a new one, `unpacking` reads a stream.

The rule that is kept here: a name without ``.unfinished-`` stands for something complete.
"""

from __future__ import annotations

from .checking import damages
from .errors import BackupError, DamagedBackup
from .losses import Losses
from .making import back_up, stream_backup
from .names import moment
from .readback import read_back
from .restoring import BLOBS, DATA, new_folder, write_database
from .selecting import selected
from .sizes import readable
from .source import FileSource, ServerSource, Source
from .target import Piece, Series, Target
from .unpacking import opened
from .workplaces import workplace

__all__ = [
    "BLOBS",
    "DATA",
    "BackupError",
    "DamagedBackup",
    "FileSource",
    "Losses",
    "Piece",
    "Series",
    "ServerSource",
    "Source",
    "Target",
    "back_up",
    "damages",
    "moment",
    "new_folder",
    "opened",
    "read_back",
    "readable",
    "selected",
    "stream_backup",
    "workplace",
    "write_database",
]
