"""Right histories, made from a model: a naive storage whose clients record what they do."""

from __future__ import annotations

from typing import Any

from ZODB.utils import maxtid, p64, z64

from .database import Transaction, with_mark
from .history import (
    Finished,
    Finishing,
    History,
    Invalidated,
    InvalidatedAll,
    Noted,
    Read,
    Snapshot,
    Stored,
    Voted,
    digest,
)

__all__ = ["Model"]


class Model:
    """A storage with some clients, one call at a time.

    :ivar history: what the clients have recorded.
    :ivar transactions: what the storage has.
    """

    def __init__(self) -> None:
        self.history = History()
        self.transactions: list[Transaction] = []
        self._seen: dict[str, bytes] = {}

    @property
    def last(self) -> bytes:
        """The tid of the last transaction."""
        return self.transactions[-1].tid if self.transactions else z64

    def add(self, client: str, what: Any) -> None:
        """A client records that."""
        self.history.add(client, self.history.now(), what)

    def begin(self, client: str) -> None:
        """A client takes a snapshot."""
        self.add(client, Snapshot(self._seen.get(client, z64)))

    def commit(self, client: str, data: dict[bytes, bytes | None]) -> bytes:
        """Commit; return the tid."""
        mark = f"{client} {self.history.now()}"
        for oid, value in data.items():
            replaced = self.revision(oid, maxtid)
            stored = None if value is None else digest(value)
            self.add(client, Stored(mark, oid, replaced[1] or z64, stored))
        self.add(client, Voted(mark, ()))
        self.add(client, Finishing(mark))
        self.hear(client)
        tid = p64(10 * len(self.transactions) + 10)
        description = with_mark(b"", mark)
        assert isinstance(description, bytes)
        self.transactions.append(Transaction(tid, description, data))
        self._seen[client] = tid
        self.add(client, Noted(mark, tid))
        self.add(client, Finished(mark, tid))
        return tid

    def missed(self, client: str) -> list[Transaction]:
        """Return the transactions of which a client was not told yet."""
        seen = self._seen.get(client, z64)
        return [transaction for transaction in self.transactions if transaction.tid > seen]

    def hear(self, client: str) -> None:
        """A client is told of each transaction that it missed."""
        for tid, _, records in self.missed(client):
            self.add(client, Invalidated(tid, tuple(records)))
            self._seen[client] = tid

    def verify(self, client: str) -> None:
        """A client is told at once of all that it missed."""
        oids = {oid for transaction in self.missed(client) for oid in transaction.records}
        if oids:
            self.add(client, Invalidated(self.last, tuple(sorted(oids))))
        self._seen[client] = self.last

    def forget(self, client: str) -> None:
        """A client was away for too long: anything may have changed."""
        self.add(client, InvalidatedAll())
        self._seen[client] = self.last

    def read(self, client: str, oid: bytes, before: bytes | None = None) -> None:
        """A client reads an object, in its last snapshot or before a tid."""
        if before is None:
            before = p64(int.from_bytes(self._seen.get(client, z64), "big") + 1)
        self.add(client, Read(oid, before, *self.revision(oid, before)))

    def revision(
        self, oid: bytes, before: bytes
    ) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return digest, serial and end, all None if there is no data."""
        written = [(t.tid, t.records[oid]) for t in self.transactions if oid in t.records]
        earlier = [(tid, data) for tid, data in written if tid < before]
        tid, data = earlier[-1] if earlier else (z64, None)
        if data is None:
            return None, None, None
        later = [later for later, _ in written if later >= before]
        return digest(data), tid, later[0] if later else None
