"""The manifest of a piece: what is in it, and the checksums of its files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import DamagedBackup

__all__ = ["FORMAT", "VERSION", "Index", "Landmark", "Manifest", "Part"]

FORMAT = "zeotwisted backup"
#: Greater if a reader of this version could not read it.
VERSION = 1


@dataclass(frozen=True)
class Part:
    """A file with transactions. All parts of a series, uncompressed, are a ``Data.fs``.

    :ivar name: the file's name, in the piece.
    :ivar size: its bytes.
    :ivar sha256: its checksum, in hexadecimal digits.
    :ivar start: the position of its first byte in the ``Data.fs``.
    :ivar end: the position after its last one.
    :ivar last: the tid of its last transaction, in hexadecimal digits; empty if there is none.
    :ivar content: the checksum of its transactions, see `content.Content`.
    """

    name: str
    size: int
    sha256: str
    start: int
    end: int
    last: str
    transactions: int
    records: int
    content: str


@dataclass(frozen=True)
class Landmark:
    """A revision by which a database is recognised: oid, tid, and the SHA-256 of its data."""

    oid: str
    tid: str
    sha256: str


@dataclass(frozen=True)
class Index:
    """The index that the next piece begins with."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a piece. Tids are hexadecimal digits.

    :ivar previous: the SHA-256 of the manifest of the piece before; empty for a full piece.
    :ivar made: when, in ISO format.
    :ivar source: what was backed up, for people.
    :ivar after: the last transaction of the piece before; empty for a full piece.
    :ivar first: the first transaction; empty if there is none.
    :ivar last: the state of which database the piece has: its last transaction.
    :ivar packed_until: the last transaction from which a pack had removed revisions; or empty.
    :ivar blobs: how many there are.
    :ivar blob_bytes: their size.
    :ivar blob_list: the SHA-256 of the list of blobs.
    :ivar missing: how many blobs the source did not have.
    :ivar missing_list: the SHA-256 of the list of these; empty if there is none.
    """

    series: int
    piece: int
    previous: str
    made: str
    source: str
    after: str
    first: str
    last: str
    transactions: int
    records: int
    packed_until: str
    parts: list[Part]
    blobs: int
    blob_bytes: int
    blob_list: str
    missing: int
    missing_list: str
    landmarks: list[Landmark]
    index: Index | None
    format: str = FORMAT
    version: int = VERSION

    @property
    def is_full(self) -> bool:
        """Whether this is the first piece of a series."""
        return not self.previous

    @property
    def end(self) -> int:
        """How long the ``Data.fs`` of the series is with this piece, in bytes."""
        return self.parts[-1].end

    @property
    def size(self) -> int:
        """How many bytes the files of the piece have."""
        return sum(part.size for part in self.parts) + self.blob_bytes

    def dump(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def load(cls, content: bytes, path: str) -> Manifest:
        """Return the manifest that a file has.

        :param path: the file's, for messages.
        :raises DamagedBackup: this is no manifest.
        """
        try:
            values = json.loads(content)
            if values["format"] != FORMAT or not isinstance(values["version"], int):
                raise ValueError(values["format"])
            if values["version"] > VERSION:
                raise DamagedBackup(
                    f"{path}: was written in version {values['version']} of the format, and this "
                    f"program knows version {VERSION}; use a newer zeotwisted"
                )
            return cls(**_typed(values))
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedBackup(
                f"{path}: is damaged, or no manifest of a backup ({error!r}); what is before this "
                "piece may still be restored with --until"
            ) from None


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with the dataclasses of `Manifest` in them.

    :raises ValueError: a value has another type than it should.
    """
    made = dict(values)
    made["parts"] = [_make(Part, part) for part in values["parts"]]
    made["landmarks"] = [_make(Landmark, mark) for mark in values["landmarks"]]
    made["index"] = None if values["index"] is None else _make(Index, values["index"])
    _check(Manifest, made)
    if not made["parts"]:
        raise ValueError("no parts")
    return made


def _make(kind: Any, values: Any) -> Any:
    _check(kind, dict(values))
    return kind(**values)


def _check(kind: Any, values: dict[str, Any]) -> None:
    plain = {"int": int, "str": str}
    for field in fields(kind):
        wanted = plain.get(str(field.type))
        if wanted is not None and type(values.get(field.name)) is not wanted:
            raise ValueError(f"{field.name} is {values.get(field.name)!r}")
