"""Makes a backup: a piece in a folder, or a full one in a stream."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from typing import IO

from .errors import BackupError, DamagedBackup, PackedMeanwhile
from .identity import is_same
from .manifest import Manifest
from .names import INDEX, README, moment, piece_name, series_name
from .outputs import StreamOutput
from .piece import PieceWriter, Report
from .sizes import readable
from .source import Source
from .start import after, at_nothing
from .target import Series, Target, readme
from .workplaces import workplace

__all__ = ["OpenSource", "back_up", "stream_backup"]

#: Opens the source; gets the folder in which it may keep files for a moment.
OpenSource = Callable[[str], Source]

#: How often to begin again when the database is packed meanwhile.
_TRIES = 3


def back_up(
    open_source: OpenSource,
    target: Target,
    full: bool,
    keep: int | None,
    allow_missing: bool,
    say: Callable[[str], None],
    report: Report,
) -> None:
    """Add a piece to a folder: what has come since the last one, or all.

    :param full: begin a new series.
    :param keep: how many series to keep; None for all.
    :param allow_missing: go on if a blob is missing.
    :param say: is told in a line what was done.
    :param report: is told how far it is.
    :raises BackupError: there is no new piece. What was there is as it was.
    """
    with target.locked():
        for tried in range(1, _TRIES + 1):
            try:
                _add_piece(open_source, target, full, allow_missing, say, report)
                break
            except PackedMeanwhile as error:
                if tried == _TRIES:
                    raise BackupError(f"{error}, several times; back up at another time") from None
                say(f"{error}; beginning this backup again")
        if keep is not None:
            for number in target.keep(keep):
                say(f"removed {series_name(number)}")


def _add_piece(
    open_source: OpenSource,
    target: Target,
    full: bool,
    allow_missing: bool,
    say: Callable[[str], None],
    report: Report,
) -> None:
    before = _newest(target, full)
    source = open_source(target.path)
    try:
        if before is not None:
            last = before.pieces[-1].manifest
            if not is_same(target.path, last, source) and not full:
                full = True
                say(
                    "the database was changed and packed since the backup before, so that it is "
                    "backed up as a whole"
                )
            if not full and source.last.hex() == last.last:
                say(f"nothing is new since {moment(source.last)}")
                return
        if full or before is None:
            start = at_nothing(max(target.numbers(), default=0) + 1)
        else:
            start = after(before)
        try:
            with target.adding(start.series, start.piece) as output:
                writer = PieceWriter(source, output, start, allow_missing, report)
                manifest = writer.write()
        finally:
            start.lookback.close()
    finally:
        source.close()
    if before is not None and not full:
        # Only the newest one is of use, and only to be quick.
        with suppress(FileNotFoundError):
            os.remove(before.pieces[-1].file(INDEX))
    say(_described(manifest))
    if not manifest.is_full and manifest.packed_until:
        say(
            "the database was packed since the backup before; transactions between "
            f"{manifest.after} and {manifest.packed_until} cannot be restored any more, and all "
            "others can"
        )


def _newest(target: Target, full: bool) -> Series | None:
    """Return the newest series; if all is backed up anyway, the newest that can be read.

    :raises DamagedBackup: it cannot be read.
    """
    numbers = target.numbers()
    for number in reversed(numbers):
        try:
            return target.series(number)
        except DamagedBackup as error:
            if not full:
                raise DamagedBackup(
                    f"{error}; or begin a new series, with zeotwisted backup --full"
                ) from None
    if numbers:
        raise BackupError(
            f"{target.path}: all series are damaged, so that it cannot be told whether they are of "
            "this database; choose a new folder"
        )
    return None


def _described(manifest: Manifest) -> str:
    kind = "full backup" if manifest.is_full else "incremental backup"
    blobs = f" and {manifest.blobs} blobs" if manifest.blobs else ""
    if not manifest.transactions:
        return f"{kind} of an empty database"
    text = (
        f"{kind} up to {moment(bytes.fromhex(manifest.last))} ({manifest.last}): "
        f"{manifest.transactions} transactions{blobs}, {readable(manifest.size)}, "
        f"{series_name(manifest.series)}/{piece_name(manifest.piece)}"
    )
    return (
        f"{text}; {manifest.missing} blobs are missing at the source" if manifest.missing else text
    )


def stream_backup(
    open_source: OpenSource,
    stream: IO[bytes],
    allow_missing: bool,
    say: Callable[[str], None],
    report: Report,
) -> None:
    """Write a full backup into a stream, as a tar archive of a folder with one piece.

    :raises BackupError: it cannot be made. The stream ends without a manifest then.
    """
    with workplace(tempfile.gettempdir()) as place, closing(open_source(place)) as source:
        start = at_nothing(1)
        output = StreamOutput(stream, f"{series_name(1)}/{piece_name(1)}")
        output.add_text(README, readme())
        manifest = PieceWriter(source, output, start, allow_missing, report).write()
        output.close()
    say(_described(manifest))
