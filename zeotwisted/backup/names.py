"""The names of the files and folders of a backup, and how transactions are written."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from ZODB.TimeStamp import TimeStamp

from .errors import BackupError

__all__ = [
    "BLOB_LIST",
    "CHECKSUM",
    "DOWNLOADS",
    "INDEX",
    "LEFTOVER",
    "MANIFEST",
    "MEMBER",
    "MISSING",
    "PIECE",
    "README",
    "SERIES",
    "UNFINISHED",
    "blob_name",
    "moment",
    "parse_blob_name",
    "parse_moment",
    "part_name",
    "piece_name",
    "series_name",
]

MANIFEST = "manifest.json"
#: The SHA-256 of the manifest, as ``sha256sum`` writes it. The last file of a piece.
CHECKSUM = "manifest.json.sha256"
#: The SHA-256 of each blob's file, as ``sha256sum`` writes it.
BLOB_LIST = "blobs.sha256"
#: The blobs that the source did not have: oid and tid in each line.
MISSING = "missing-blobs.txt"
#: Where the last revision of each object is; only in the last piece of a series.
INDEX = "index"
README = "README.txt"
#: What begins so is not complete, or is being removed. The next run removes it.
UNFINISHED = ".unfinished-"
#: The blobs that a server has sent, for a moment.
DOWNLOADS = f"{UNFINISHED}downloads"

SERIES = re.compile(r"series-(\d{6})")
PIECE = re.compile(r"piece-(\d{6})")
#: What a backup that was killed has left in the folder.
LEFTOVER = re.compile(
    rf"{re.escape(UNFINISHED)}({SERIES.pattern}|{PIECE.pattern}|downloads|{re.escape(README)})"
)
_BLOB = re.compile(r"blobs/[0-9a-f]{2}/([0-9a-f]{16})-([0-9a-f]{16})\.blob")
_TID = re.compile(r"(?:0x)?([0-9a-f]{16})", re.IGNORECASE)

#: What a stream of a backup may have in it.
MEMBER = re.compile(
    rf"README\.txt|{SERIES.pattern}/{PIECE.pattern}/"
    rf"(manifest\.json(\.sha256)?|blobs\.sha256|missing-blobs\.txt|records-\d{{6}}\.gz|{_BLOB.pattern})"
)


def series_name(number: int) -> str:
    """Return the name of a series' folder."""
    return f"series-{number:06}"


def piece_name(number: int) -> str:
    """Return the name of a piece's folder, inside of that of its series."""
    return f"piece-{number:06}"


def part_name(number: int) -> str:
    """Return the name of a file with records, inside of a piece."""
    return f"records-{number:06}.gz"


def blob_name(oid: bytes, tid: bytes) -> str:
    """Return the name of a blob's file, inside of a piece."""
    return f"blobs/{oid[-1]:02x}/{oid.hex()}-{tid.hex()}.blob"


def parse_blob_name(name: str) -> tuple[bytes, bytes]:
    """Return oid and tid of a blob's file.

    :raises ValueError: this is not such a name.
    """
    match = _BLOB.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return bytes.fromhex(match[1]), bytes.fromhex(match[2])


def moment(tid: bytes) -> str:
    """Return when a transaction was committed, for people, in UTC."""
    seconds = TimeStamp(tid).timeTime()
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError):
        return f"transaction {tid.hex()}"


def parse_moment(text: str) -> bytes:
    """Return the last tid that a user means.

    :param text: a tid, 16 hexadecimal digits; or a time in ISO format, in UTC unless it has an
        offset. All transactions up to then are meant.
    :raises BackupError: it is neither.
    """
    if match := _TID.fullmatch(text):
        return bytes.fromhex(match[1])
    try:
        # Python 3.10 does not know the Z.
        when = datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text.strip()))
        when = when.astimezone(timezone.utc) if when.tzinfo else when
        seconds = when.second + when.microsecond / 1e6
        stamp = TimeStamp(when.year, when.month, when.day, when.hour, when.minute, seconds)
    except (ValueError, OverflowError):
        raise BackupError(
            f"{text!r} is neither a transaction nor a time; write 16 hexadecimal digits as "
            "zeotwisted backup --list shows them, or a time such as 2026-07-31T18:00:00, in UTC"
        ) from None
    return stamp.raw()
