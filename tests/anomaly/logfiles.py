"""Lines that are appended to a log file."""

from __future__ import annotations

from zeotwisted.logs.targets import FileTarget

from .loops import Journal, Operation

__all__ = ["WritesLog"]

_LINES = [f"line {number} {'x' * 50} end\n" for number in range(4)]


class WritesLog(Operation):
    """A log file gets some lines, and is opened anew in between."""

    name = "log file"

    def start(self) -> None:
        self.target = FileTarget(self.path("log"))

    def run(self, journal: Journal) -> None:
        for number, line in enumerate(_LINES):
            try:
                if number == 2:
                    self.target.reopen()
                self.target.write(line)
            except OSError as error:
                journal.refused(error)
            else:
                journal.note("written", line)

    def mended(self, journal: Journal) -> None:
        self.target.write("now\n")
        self.target.close()
        self._check(journal, "now\n")

    def restarted(self, journal: Journal) -> None:
        self._check(journal)
        self.start()
        # This one may be behind the beginning of a line that a killed process was writing.
        self.target.write("first\n")
        self.target.write("again\n")
        self.target.close()
        self._check(journal, "again\n")

    def _check(self, journal: Journal, *more: str) -> None:
        with open(self.path("log")) as file:
            lines = file.readlines()
        for line in (*journal.of("written"), *more):
            assert line in lines, "a line is torn"
