"""The client's blobs: in a cache of its own, in the server's folder, or not at all.

`client_blobs` chooses. `cache` is the folder, `cleaner` bounds its size, `uses` notes what is in
use; `downloads` and `uploads` move files over a connection.
Rule: a file has its final name only when it is complete.
"""

from __future__ import annotations

from .blobs import Blobs, client_blobs, open_blob
from .uploads import upload

__all__ = [
    "Blobs",
    "client_blobs",
    "open_blob",
    "upload",
]
