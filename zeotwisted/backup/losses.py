"""What a restore leaves out: blobs whose files in the backup are damaged, if the user allows it.

The list with the checksums of a piece's blobs may be damaged, too. Then a line counts if the file
that it names has its checksum, and blobs that have no such line are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

from .checking import ListedBlob, blob_list, missing_blobs, readable_blobs
from .errors import DamagedBackup
from .names import blob_name
from .parts import REMEDY
from .target import Piece

__all__ = ["Losses"]

_OPTION = "or leave out all damaged blobs with --allow-damaged-blobs"


class Losses:
    """The blobs that are left out of one restore.

    :param allowed: whether any may be left out.
    :ivar lines: a line for each of them, and for each damaged list.
    :ivar blobs: their oids and tids.
    """

    def __init__(self, allowed: bool) -> None:
        self._allowed = allowed
        self.lines: list[str] = []
        self.blobs: set[tuple[bytes, bytes]] = set()
        # The pieces with a damaged list, of their blobs or of missing ones, by their paths.
        self._unsure: dict[str, Piece] = {}
        # The lines that could be read of damaged lists of blobs, by the paths of their pieces.
        self._lines: dict[str, dict[tuple[bytes, bytes], ListedBlob]] = {}

    def listed(self, piece: Piece) -> Iterator[ListedBlob]:
        """Yield the blobs of a piece. If its list is damaged, some lines may be wrong.

        :raises DamagedBackup: the list is damaged, and nothing may be left out.
        """
        try:
            yield from blob_list(piece)
        except DamagedBackup as error:
            self._list(piece, error)
            lines = {(blob.oid, blob.tid): blob for blob in readable_blobs(piece)}
            self._lines[piece.path] = lines
            yield from lines.values()

    def in_order(self, piece: Piece) -> Iterator[ListedBlob]:
        """Yield the blobs of a piece, in the order of the records; none if its list is damaged."""
        return iter(()) if piece.path in self._lines else blob_list(piece)

    def in_damaged_list(self, oid: bytes, tid: bytes) -> ListedBlob | None:
        """Return the line of a damaged list for a blob; None if there is none."""
        found = (lines.get((oid, tid)) for lines in self._lines.values())
        return next(filter(None, found), None)

    def missing(self, piece: Piece) -> Iterator[tuple[bytes, bytes]]:
        """Yield oid and tid of the blobs that the source did not have.

        :raises DamagedBackup: their list is damaged, and nothing may be left out.
        """
        try:
            yield from missing_blobs(piece)
        except DamagedBackup as error:
            self._list(piece, error)

    def leave_out(self, oid: bytes, tid: bytes, error: DamagedBackup) -> None:
        """Leave out a blob.

        :param error: why.
        :raises DamagedBackup: nothing may be left out.
        """
        if not self._allowed:
            _refuse(error)
        if (oid, tid) not in self.blobs:
            self.blobs.add((oid, tid))
            self.lines.append(
                f"{error}; the blob of object {oid.hex()}, transaction {tid.hex()}, is left out"
            )

    def leave_out_unlisted(self, oid: bytes, tid: bytes, is_blob: bool) -> None:
        """Leave out a blob that a damaged list does not have any more, if it is one.

        :param is_blob: whether the record is a blob's for sure.
        """
        for piece in self._unsure.values():
            if piece.manifest.first <= tid.hex() <= piece.manifest.last:
                path = piece.file(blob_name(oid, tid))
                if is_blob or os.path.exists(path):
                    error = DamagedBackup(f"{path}: its checksum is not known; {REMEDY}")
                    self.leave_out(oid, tid, error)

    def _list(self, piece: Piece, error: DamagedBackup) -> None:
        if not self._allowed:
            _refuse(error)
        self._unsure[piece.path] = piece
        self.lines.append(f"{error}; blobs that are not listed any more are left out")


def _refuse(error: DamagedBackup) -> NoReturn:
    raise DamagedBackup(f"{error}; {_OPTION}") from None
