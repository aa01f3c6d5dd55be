"""Where a piece begins: at nothing, or after the pieces of a series."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ZODB.fsIndex import fsIndex
from ZODB.utils import z64

from .identity import Landmarks
from .lookback import Lookback
from .names import INDEX
from .partreader import PartReader
from .parts import decompressed
from .target import Piece, Series

__all__ = ["Start", "after", "at_nothing"]


@dataclass(frozen=True)
class Start:
    """Where a piece begins.

    :ivar previous: the SHA-256 of the manifest of the piece before; empty if there is none.
    :ivar tid: the last transaction that is backed up.
    :ivar position: how long the ``Data.fs`` is.
    :ivar index: where the last revision of each object is.
    :ivar lookback: the parts of the pieces before.
    """

    series: int
    piece: int
    previous: str
    tid: bytes
    position: int
    index: fsIndex
    landmarks: Landmarks
    lookback: Lookback


def at_nothing(series: int) -> Start:
    """Begin a series."""
    return Start(series, 1, "", z64, 0, fsIndex(), Landmarks(), Lookback())


def after(series: Series) -> Start:
    """Begin after the last piece of a series.

    :raises DamagedBackup: a part is damaged that is needed.
    """
    last = series.pieces[-1]
    lookback = Lookback()
    for piece in series.pieces:
        for part in piece.manifest.parts:
            lookback.add(piece.file(part.name), part)
    return Start(
        series.number,
        len(series.pieces) + 1,
        last.digest,
        bytes.fromhex(last.manifest.last) or z64,
        last.manifest.end,
        _kept_index(last) or _new_index(series),
        Landmarks(last.manifest.landmarks),
        lookback,
    )


def _kept_index(piece: Piece) -> Any:
    """Return the index that a piece has; None if it is missing or damaged."""
    index = piece.manifest.index
    path = piece.file(INDEX)
    if index is None or not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        digest = sha256()
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != index.sha256:
        return None
    return fsIndex.load(path)["index"]


def _new_index(series: Series) -> fsIndex:
    """Make the index again from all records."""
    index = fsIndex()
    for piece in series.pieces:
        for part in piece.manifest.parts:
            blocks = decompressed(piece.file(part.name), part)
            reader = PartReader(part.start, part.end, blocks)
            try:
                index.update(dict(reader.positions()))
            finally:
                reader.close()
    return index
