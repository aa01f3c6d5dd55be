"""The exceptions of this room. Their texts are for the operator: one line, with the remedy."""

from __future__ import annotations

__all__ = ["BackupError", "DamagedBackup", "PackedMeanwhile"]


class BackupError(Exception):
    """A backup cannot be made, read or restored; the text is one line that says what to do."""


class DamagedBackup(BackupError):
    """A file of a backup is not what was written. The text begins with its path."""


class PackedMeanwhile(BackupError):
    """The database was packed while it was read, and a blob is gone that belongs to the backup."""
