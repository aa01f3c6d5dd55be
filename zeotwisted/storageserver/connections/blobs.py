"""The calls that send blobs to a client, and receive blobs from it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from ZODB.POSException import StorageTransactionError

from ..limits import LimitReached
from .connection import ServerConnection
from .uploads import BlobUpload, read_chunks, require_blobs, shared_file


def remote_sendBlob(client: ServerConnection, oid: bytes, serial: bytes) -> Deferred[None]:
    return client.downloads.run(lambda: Deferred.fromCoroutine(_send_blob(client, oid, serial)))


async def _send_blob(client: ServerConnection, oid: bytes, serial: bytes) -> None:
    if client.gone:
        return
    require_blobs(client.storage)
    filename = await _blob_file(client, oid, serial)
    client.peer.push("receiveBlobStart", oid, serial)
    files = client.served.limits.downloads
    for chunk in read_chunks(filename, client.peer.is_extended, files):
        client.peer.push("receiveBlobChunk", oid, serial, chunk)
        client.served.stats.blob_bytes_sent += len(chunk)
        await client.peer.writable()
        if client.gone:
            return
    client.peer.push("receiveBlobStop", oid, serial)


async def _blob_file(client: ServerConnection, oid: bytes, serial: bytes) -> str:
    # A storage that is not in this process may have to load the blob first.
    filename: str = await maybeDeferred(client.served.call, client.storage.loadBlob, oid, serial)
    return filename


def remote_storeBlobStart(client: ServerConnection) -> None:
    if client.upload is not None:
        raise StorageTransactionError("the client sends two blobs at a time")
    client.upload = BlobUpload(client.storage, client.served.limits.transactions)


def remote_storeBlobChunk(client: ServerConnection, chunk: bytes) -> None:
    if client.upload is None:
        raise StorageTransactionError("a part of a blob without its beginning")
    try:
        client.upload.write(chunk)
        client.served.stats.blob_bytes_received += len(chunk)
    except (OSError, LimitReached):
        # Remove the file: the disk is probably full.
        client.cancel_upload()
        raise


def remote_storeBlobEnd(
    client: ServerConnection, oid: bytes, serial: bytes | str | None, data: bytes, id: int
) -> None:
    _blob_end(client, id, "storeBlob", oid, serial, data)


def remote_restoreBlobEnd(
    client: ServerConnection,
    oid: bytes,
    serial: bytes,
    data: bytes,
    prev_txn: bytes | None,
    id: int,
) -> None:
    _blob_end(client, id, "restoreBlob", oid, serial, data, prev_txn)


def _blob_end(client: ServerConnection, id: int, operation: str, *args: Any) -> None:
    if client.upload is None:
        raise StorageTransactionError("the end of a blob without its beginning")
    log = client.collecting(id)
    upload, client.upload = client.upload, None
    log.add_file(operation, *args, filename=upload.finish(), size=upload.size)
    client.served.stats.stores += 1


def remote_storeBlobShared(
    client: ServerConnection,
    oid: bytes,
    serial: bytes | str | None,
    data: bytes,
    name: str,
    id: int,
) -> None:
    log = client.collecting(id)
    filename = shared_file(client.storage, oid, name)
    log.add_file("storeBlob", oid, serial, data, filename=filename)
    client.served.stats.stores += 1
