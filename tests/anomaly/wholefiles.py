"""Files that are replaced as a whole, and small files that are not."""

from __future__ import annotations

import os
import stat

from zeotwisted.files import replace_file

from .loops import Journal, Operation, files

__all__ = ["MakesFile", "ReplacesFile"]

#: Longer than a buffer, so that it is written in more than one piece.
_OLD, _NEW = b"old" * 5000, b"new" * 6000


class MakesFile(Operation):
    """`replace_file` where there is no file."""

    name = "file made as a whole"
    before: bytes | None = None

    def run(self, journal: Journal) -> None:
        try:
            replace_file(self.path("file"), _NEW, 0o640)
        except OSError as error:
            journal.refused(error)
        else:
            journal.note("done", True)
            assert not self.disk.unsynced, "a power failure would leave an empty file"

    def mended(self, journal: Journal) -> None:
        expected = _NEW if journal.of("done") else self.before
        assert self._content() == expected

    def restarted(self, journal: Journal) -> None:
        content = self._content()
        assert content in ((_NEW,) if journal.of("done") else (self.before, _NEW))
        # What a killed process has left does not matter to the next one.
        replace_file(self.path("file"), _NEW, 0o640)
        assert self._content() == _NEW
        assert stat.S_IMODE(os.stat(self.path("file")).st_mode) == 0o640

    def _content(self) -> bytes | None:
        try:
            with open(self.path("file"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def left_over(self, killed: bool) -> set[str]:
        # Another process may be writing a file with such a name, so nothing removes it.
        return {name for name in files(self.folder) if not killed or name[:5] != ".new-"} - {"file"}


class ReplacesFile(MakesFile):
    """`replace_file` where there is a file already."""

    name = "file replaced as a whole"
    before = _OLD

    def prepare(self) -> None:
        replace_file(self.path("file"), _OLD, 0o600)
