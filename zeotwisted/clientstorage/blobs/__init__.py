"""The client's blobs: in a cache folder, in the server's blob directory, or none.

`client_blobs` chooses. `cache` has the folder, `cleaner` bounds its size, and `uses` records which
files the client uses. `downloads` and `uploads` transfer files over a connection, and
`files` downloads without a cache.
Rule: a file has its final name only when it is complete.
"""

from __future__ import annotations

from .blobs import Blobs, client_blobs, open_blob
from .files import BlobFiles
from .uploads import upload

__all__ = [
    "BlobFiles",
    "Blobs",
    "client_blobs",
    "open_blob",
    "upload",
]
