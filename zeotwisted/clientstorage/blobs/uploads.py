"""Blobs on their way to the server."""

from __future__ import annotations

from typing import IO

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import LONG

from ..calls import ClientProtocol

__all__ = ["upload"]

#: How much of a blob goes into one message, in bytes: what ZEO's clients send, and what is fastest
#: between two of us.
_CHUNK_SIZE = 59000
_EXTENDED_CHUNK_SIZE = 2**18


def upload(protocol: ClientProtocol, file: IO[bytes]) -> None:
    """Send the content of a blob, of which ``storeBlobEnd`` is to follow.

    No other blob may be sent before that, so if anything goes wrong here the connection is given
    up: there is no other way to tell the server that what it has is not the whole.

    :raises ClientDisconnected: the connection is lost.
    :raises OSError: the file cannot be read.
    """
    size = _EXTENDED_CHUNK_SIZE if protocol.is_extended else _CHUNK_SIZE
    protocol.oneway("storeBlobStart", hold_back=True)
    try:
        # Each waits while the server does not take those before it.
        while chunk := file.read(size):
            if len(chunk) < LONG:
                protocol.oneway("storeBlobChunk", chunk, hold_back=True)
            else:
                protocol.oneway_long("storeBlobChunk", chunk)
    except BaseException as error:
        protocol.give_up(ClientDisconnected(f"sending a blob was interrupted: {error!r}"))
        raise
