"""A blob that the server sends: what it may send when, and the file that the parts go to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import IO, Any

from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.files import remove_file
from zeotwisted.protocol import WireError

__all__ = ["TRANSITIONS", "Incoming", "Progress"]


class Progress(Enum):
    """The states of a download. The values appear in messages."""

    ASKED = "not begun"
    RECEIVING = "under way"
    RECEIVED = "complete"
    OVER = "over"


#: The calls that the server may make in each state. Any other call is a protocol error.
TRANSITIONS: Mapping[tuple[Progress, str], Progress] = {
    (Progress.ASKED, "receiveBlobStart"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobChunk"): Progress.RECEIVING,
    (Progress.RECEIVING, "receiveBlobStop"): Progress.RECEIVED,
}


class Incoming:
    """The parts of a blob, which are written to a file as they arrive.

    :param file: unbuffered; `remove` closes it.
    :ivar path: the file's name.
    """

    def __init__(self, file: IO[bytes], path: str) -> None:
        self.progress = Progress.ASKED
        self.file = file
        self.path = path
        self._error: OSError | None = None

    def receive(self, name: str, chunk: bytes = b"") -> None:
        """Process a call of the server's. The file is removed if it cannot be written.

        :raises WireError: the call is not allowed in this state.
        """
        progress = TRANSITIONS.get((self.progress, name))
        if progress is None:
            raise WireError(f"{name} for a blob whose download is {self.progress.value}")
        self.progress = progress
        if self._error is not None:
            # The protocol has no way to stop the server, so drop the rest.
            return
        try:
            view = memoryview(chunk)
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:
            self._error = error
            self.remove()

    def end(self, result: Any, place: str, purpose: str = "") -> None:
        """End the download when the server has answered, or the connection is lost.

        :param place: the name for the message of an OSError.
        :param purpose: what was done with the file, for that message.
        :raises OSError: the file could not be written.
        :raises ClientStorageError: the server has answered without sending the whole file.
        :raises Exception: `result` is a failure with this exception.
        """
        received = self.progress is Progress.RECEIVED
        self.progress = Progress.OVER
        if isinstance(result, Failure):
            result.raiseException()
        if self._error is not None:
            reason = os.strerror(self._error.errno or 0) + purpose
            raise OSError(self._error.errno, reason, place)
        if not received:
            raise ClientStorageError("the server did not send the blob")

    def remove(self) -> None:
        """Close the file and remove it. It may be removed already, or have another name."""
        self.file.close()
        remove_file(self.path)
