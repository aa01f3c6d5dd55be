"""Blobs at the client: its cache folder, uploads, downloads, and the cleaner."""

from __future__ import annotations

import os
from typing import IO, Any

from ZODB.utils import p64

from zeotwisted.clientstorage.blobs.blobs import CachedBlobs
from zeotwisted.clientstorage.blobs.cleaner import BlobCleaner

from .loops import Journal, Operation, files

__all__ = ["CleansBlobs", "LoadsBlobs", "OpensBlobs", "StoresBlobs"]

OID, OTHER, TID = p64(1), p64(2), p64(9)
_PARTS = [b"first" * 2000, b"second" * 2000]
_CONTENT = b"".join(_PARTS)


class _Transaction:
    """A transaction that stores blobs, with a server that takes everything."""

    def __init__(self) -> None:
        self.blobs: list[tuple[bytes, str]] = []
        self.received = b""

    def store_blob(self, oid: bytes, serial: bytes | None, data: bytes, file: IO[bytes]) -> None:
        self.received = file.read()


class _Connection:
    """A connection to a server that sends a blob whenever it is asked."""

    def __init__(self, blobs: CachedBlobs) -> None:
        self._blobs = blobs

    def check_may_wait(self, what: str) -> None:
        """It may."""

    def call_and_wait(self, answer: Any, name: str, oid: bytes, tid: bytes) -> None:
        self._blobs.receive("receiveBlobStart", (oid, tid))
        for part in _PARTS:
            self._blobs.receive("receiveBlobChunk", (oid, tid, part))
        self._blobs.receive("receiveBlobStop", (oid, tid))
        failures: list[Any] = []
        answer.addErrback(failures.append)
        answer.callback(None)
        for failure in failures:
            failure.raiseException()


class _Blobs(Operation):
    """An operation of a client with a cache folder for blobs."""

    blobs: CachedBlobs | None = None

    def prepare(self) -> None:
        os.mkdir(self.path("application"))

    def start(self) -> None:
        self.open()

    def open(self) -> CachedBlobs:
        self.blobs = CachedBlobs(self.path("cache"), None, 0)
        return self.blobs

    def load(self) -> bytes:
        """Load the blob from the cache, or from the server."""
        assert self.blobs is not None
        connection: Any = _Connection(self.blobs)
        with open(self.blobs.load(lambda: connection, OID, TID), "rb") as file:
            return file.read()

    def store(self) -> _Transaction:
        """Store the blob in a transaction."""
        assert self.blobs is not None
        with open(self.path("application", "new"), "wb") as file:
            file.write(_CONTENT)
        transaction = _Transaction()
        try:
            self.blobs.store(transaction, OTHER, None, b"", self.path("application", "new"))  # type: ignore[arg-type]
        except BaseException:
            self.blobs.discard(transaction.blobs)
            raise
        return transaction

    def mended(self, journal: Journal) -> None:
        assert self.blobs is not None or journal.of("refused")
        blobs = self.blobs or self.open()
        # Nothing waits for a lock that an error has left behind.
        for oid in (OID, OTHER):
            lock = blobs._cache.lock(blobs._cache.path(oid, TID), timeout=0)
            blobs._cache.unlock(lock)
        assert self.load() == _CONTENT
        blobs.keep(self.store().blobs, TID)
        with open(blobs._cache.path(OTHER, TID), "rb") as file:
            assert file.read() == _CONTENT
        blobs.close()
        self.blobs = None

    def restarted(self, journal: Journal) -> None:
        for name in files(self.path("cache")) if os.path.exists(self.path("cache")) else ():
            if name.endswith(".blob"):
                with open(self.path("cache", name), "rb") as file:
                    assert file.read() == _CONTENT, "a blob in the cache is torn"
        self.open()
        self.mended(journal)

    def left_over(self, killed: bool) -> set[str]:
        left_over = set()
        for name in files(self.folder):
            first, _, rest = name.partition("/")
            usual = rest.endswith((".blob", ".lock", ".layout"))
            # See `wholefiles` for these.
            whole = killed and rest.startswith(".new-")
            if first != "cache" or rest.startswith("transfers/tmp") or not (usual or whole):
                left_over.add(name)
        return left_over


class OpensBlobs(_Blobs):
    """The folder is made, and closed."""

    name = "blob cache made"

    def start(self) -> None:
        """The operation opens it."""

    def run(self, journal: Journal) -> None:
        try:
            self.open().close()
        except OSError as error:
            journal.refused(error)
        self.blobs = None
        journal.note("closed", True)

    def mended(self, journal: Journal) -> None:
        self.open()
        super().mended(journal)


class StoresBlobs(_Blobs):
    """A blob of a transaction that is committed, and one of another that is aborted."""

    name = "blob uploaded"

    def run(self, journal: Journal) -> None:
        assert self.blobs is not None
        for commit in (True, False):
            try:
                transaction = self.store()
            except OSError as error:
                journal.refused(error)
                continue
            assert transaction.received == _CONTENT, "the server has got something else"
            # From here on nothing may raise: the transaction is committed, or aborted.
            if commit:
                self.blobs.keep(transaction.blobs, TID)
            self.blobs.discard(transaction.blobs)

    def left_over(self, killed: bool) -> set[str]:
        return super().left_over(killed) - ({"application/new"} if killed else set())


class LoadsBlobs(_Blobs):
    """A blob that is not in the cache, and then is."""

    name = "blob downloaded"

    def run(self, journal: Journal) -> None:
        for _ in range(2):
            try:
                assert self.load() == _CONTENT
            except OSError as error:
                journal.refused(error)


class CleansBlobs(_Blobs):
    """The cache is too large, and a process that was killed has left files in it."""

    name = "blob cache cleaned"

    def prepare(self) -> None:
        super().prepare()
        cache = self.open()._cache
        for number in range(10, 13):
            descriptor, name = cache.partial()
            os.write(descriptor, _CONTENT)
            os.close(descriptor)
            cache.put(name, cache.path(p64(number), TID))
        # Its locks are released here, and its files stay.
        cache.partial()
        cache.forked()
        cache._present.close()

    def start(self) -> None:
        blobs = self.open()
        self.cleaner = BlobCleaner(blobs._cache, 2 * len(_CONTENT), 0, in_use=-1)

    def run(self, journal: Journal) -> None:
        try:
            self.cleaner.clean()
        except OSError as error:
            # The cleaner's thread logs it.
            journal.refused(error)

    def mended(self, journal: Journal) -> None:
        self.cleaner.clean()
        super().mended(journal)

    def restarted(self, journal: Journal) -> None:
        self.start()
        self.cleaner.clean()
        kept = [name for name in files(self.path("cache")) if name.endswith(".blob")]
        assert len(kept) == 2
        assert self.blobs is not None
        self.blobs.close()
