"""Sends blobs to the server."""

from __future__ import annotations

from typing import IO

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import LONG

from ..calls import ClientProtocol

__all__ = ["upload"]

#: How much of a blob goes into one message, in bytes: as much as ZEO's clients send, and the
#: fastest value with a zeotwisted server.
_CHUNK_SIZE = 59000
_EXTENDED_CHUNK_SIZE = 2**18


def upload(protocol: ClientProtocol, file: IO[bytes]) -> None:
    """Send the content of a blob. The caller sends ``storeBlobEnd`` next.

    After an error the connection is closed: the protocol has no other way to tell the server that
    the content is incomplete.

    :raises ClientDisconnected: the connection is lost.
    :raises OSError: the file cannot be read.
    """
    size = _EXTENDED_CHUNK_SIZE if protocol.is_extended else _CHUNK_SIZE
    protocol.oneway("storeBlobStart", hold_back=True)
    try:
        # Each call blocks while too many chunks are queued.
        while chunk := file.read(size):
            if len(chunk) < LONG:
                protocol.oneway("storeBlobChunk", chunk, hold_back=True)
            else:
                protocol.oneway_long("storeBlobChunk", chunk)
    except BaseException as error:
        protocol.give_up(ClientDisconnected(f"sending a blob was interrupted: {error!r}"))
        raise
