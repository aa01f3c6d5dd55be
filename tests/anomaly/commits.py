"""Commits into a FileStorage, and loads of blobs, by the way that they take through the daemon."""

from __future__ import annotations

import os

from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from tests.ordering.puppets import Server

from .loops import Journal, Operation, files

__all__ = ["Commits", "CommitsBlobs", "SendsBlobs"]

BEFORE, FIRST, SECOND, THIRD, LONG, BLOB, NEXT = (p64(number) for number in range(7))
#: More than a transaction may keep in memory here.
_LONG_DATA = b"long" * 20_000
_PARTS = [b"first" * 2000, b"second" * 2000]


def data_of(oid: bytes) -> bytes:
    """Return what each transaction stores for an object."""
    return _LONG_DATA if oid == LONG else b"data of " + oid


class _Serves(Operation):
    """An operation of a daemon with a FileStorage, and of its clients."""

    def prepare(self) -> None:
        os.mkdir(self.path("spool"))
        self.start()
        journal = Journal()
        self.commit(journal, BEFORE)
        assert journal.of("committed")
        self.storage.close()

    def start(self) -> None:
        self.storage = FileStorage(self.path("Data.fs"), blob_dir=self.path("blobs"))
        self.server = Server(self.storage, spool_dir=self.path("spool"), spool_memory=1)
        self._numbers = iter(range(1, 100))

    def commit(self, journal: Journal, *oids: bytes) -> None:
        """Commit a transaction, and note the answers."""
        client = self.server.client()
        number = next(self._numbers)
        client.tell("tpc_begin", number, "", "", {})
        for oid in oids:
            if oid == BLOB:
                client.tell("storeBlobStart")
                for part in _PARTS:
                    client.tell("storeBlobChunk", part)
                client.tell("storeBlobEnd", oid, z64, data_of(oid), number)
            else:
                client.tell("storea", oid, z64, data_of(oid), number)
        # Otherwise the vote would wait for ever.
        assert not self.storage._commit_lock.locked(), "the storage's lock is kept"
        try:
            _, tid = client.ask("vote", number)
        except Exception as error:
            journal.refused(error)
            assert not self.server.served.lock.holders, "the commit lock is kept"
            client.ask("tpc_abort", number)
            return
        journal.note("voted", (tid, oids))
        sent = client.send("tpc_finish", number)
        if self.server.served.unusable:
            # The client asks again when the file is served again.
            assert self.is_dead and not client.received()
            journal.note("in doubt", self.server.served.unusable)
        else:
            assert client.received() == [("reply", sent, tid)]
            journal.note("committed", tid)
            assert self.path("Data.fs") not in self.disk.unsynced, "a power failure would lose it"
        client.lose()

    @property
    def is_dead(self) -> bool:
        """Whether the FileStorage has closed itself, as it does if `tpc_finish` fails."""
        return bool(self.storage._file.closed)

    def mended(self, journal: Journal) -> None:
        if self.is_dead:
            assert journal.of("voted") and journal.of("in doubt")
        else:
            assert not self.server.served.lock.holders, "the commit lock is kept"
            assert not self.storage._commit_lock.locked(), "the storage's lock is kept"
            refused = len(journal.of("refused"))
            self.commit(journal, NEXT)
            assert len(journal.of("refused")) == refused
        assert self.server.served.stats.active_txns == 0
        limits = self.server.limits.transactions
        assert (limits.disk.used, limits.files.used, limits.memory.used) == (0, 0, 0)
        self.storage.close()

    def left_over(self, killed: bool) -> set[str]:
        # Nothing tells what a killed daemon has left from what the application is writing there.
        watched = ("spool/",) if killed else ("spool/", "blobs/tmp/")
        return {name for name in files(self.folder) if name.startswith(watched)}

    def restarted(self, journal: Journal) -> None:
        storage = FileStorage(self.path("Data.fs"), blob_dir=self.path("blobs"))
        try:
            found = {
                transaction.tid: {record.oid: record.data for record in transaction}
                for transaction in storage.iterator()
            }
            voted = dict(journal.of("voted"))
            assert found.keys() >= set(journal.of("committed")), "a commit is lost"
            known = voted.keys() | {min(found)}
            assert found.keys() <= known, "a transaction is there that was refused"
            for tid, records in found.items():
                oids = voted.get(tid, records)
                assert records == {oid: data_of(oid) for oid in oids}, "torn"
                if BLOB in records:
                    with open(storage.loadBlob(BLOB, tid), "rb") as file:
                        assert file.read() == b"".join(_PARTS), "a blob is torn"
        finally:
            storage.close()


class Commits(_Serves):
    """Two commits, one of them with so long a record that it waits for its vote on disk."""

    name = "commit"

    def run(self, journal: Journal) -> None:
        self.commit(journal, FIRST, SECOND)
        if not self.is_dead:
            self.commit(journal, LONG, THIRD)


class CommitsBlobs(_Serves):
    """A commit with a blob."""

    name = "commit of a blob"

    def run(self, journal: Journal) -> None:
        self.commit(journal, FIRST, BLOB)


class SendsBlobs(_Serves):
    """A client asks for a blob, and asks again."""

    name = "blob sent"

    def prepare(self) -> None:
        os.mkdir(self.path("spool"))
        self.start()
        journal = Journal()
        self.commit(journal, BEFORE, BLOB)
        assert journal.of("committed")
        self.storage.close()

    def run(self, journal: Journal) -> None:
        client = self.server.client()
        tid = self.storage.lastTransaction()
        for _ in range(2):
            client.send("sendBlob", BLOB, tid)
            *parts, (outcome, _, error) = client.received()
            names = [name for name, *_ in parts]
            if outcome == "error":
                journal.refused(error)
                assert "receiveBlobStop" not in names, "a part is said to be the whole"
            else:
                content = b"".join(part[3] for part in parts if part[0] == "receiveBlobChunk")
                assert content == b"".join(_PARTS)
                assert (names[0], names[-1]) == ("receiveBlobStart", "receiveBlobStop")
