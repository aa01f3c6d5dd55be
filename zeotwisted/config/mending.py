"""Leaves a mistake out of a configuration, so that the next mistake can be found.

ZConfig stops at the first one. A line that is left out becomes empty, or has another value. A
storage is replaced by one in memory, because a configuration without storages is a mistake too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .loader import ConfigurationError

__all__ = ["Line", "Mending"]

#: The beginning of a section: its type, its name, and the slash of an empty one.
_BEGIN = re.compile(r"\s*<\s*([^\s/>]+)\s*([^>]*?)\s*(/?)>\s*$")

#: Sections that are no storages, if nothing is around them.
_NO_STORAGES = ("zeo", "eventlog", "runner")

_IN_MEMORY = "mappingstorage"

#: Values for keys without which the rest of their section cannot be checked.
_REPLACED = {"address": "127.0.0.1:0", "authenticate": "SIGNED", "path": "Data.fs"}

#: What a missing key or section is called.
_MISSING = re.compile(r"(?:no values for|not enough values for|<ssl>: no) '?([\w.-]+)")

#: Errors that may be the consequence of a line that was left out: a pattern of the error, and a
#: pattern of that line, which may name a group of the first.
_CONSEQUENCES = [
    ("unknown type name.*or add an %import", r"%import"),
    (r"no replacement for '(\w+)'", r"%define\s+{}\b"),
    ("group:(.*): there is no such group", r"<\s*group\s+{}\s*>?"),
    ("nobody needs an account", "<access"),
    ("<access 1>: there is no storage", "<"),
    ("unexpected section end|unbalanced section end", "<"),
]


@dataclass(frozen=True)
class Line:
    """A line of a configuration.

    :ivar number: its number in the file; 0 for a key that was added. The end of a section that was
        added has the number of the line after it.
    """

    number: int
    text: str


class Mending:
    """The lines of a configuration, from which mistakes are left out.

    :ivar lines: the lines that are left.
    """

    def __init__(self, text: str) -> None:
        self.lines = [Line(number, line) for number, line in enumerate(text.split("\n"), 1)]
        #: The lines that were left out.
        self._out: list[Line] = []

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def numbers(self) -> list[int]:
        """The number of each line in the file."""
        return [line.number for line in self.lines]

    def is_consequence(self, error: ConfigurationError) -> bool:
        """Return whether an error may come from what was left out, and not from the user."""
        text = str(error)
        if error.line is not None and self._is_changed(self.lines[error.line - 1].number):
            return True
        if _MISSING.search(text):
            if error.line is None:
                return bool(self._out)
            first, last = self._section(error.line - 1)
            numbers = {line.number for line in self.lines[first : last + 1]}
            return any(line.number in numbers for line in self._out)
        for pattern, cause in _CONSEQUENCES:
            match = re.search(pattern, text)
            if match is not None:
                begin = re.compile(cause.format(*map(re.escape, match.groups())), re.IGNORECASE)
                return any(begin.match(line.text.strip()) for line in self._out)
        return False

    def _is_changed(self, number: int) -> bool:
        """Return whether the line is a key that was added or left out."""
        return number == 0 or any(
            line.number == number and not line.text.strip().startswith("<") for line in self._out
        )

    def leave_out(self, error: ConfigurationError) -> bool:
        """Leave out what an error is about; return whether that was possible."""
        if error.unclosed is not None:
            return self._close(error.unclosed, error.line)
        if error.line is None:
            return False
        index = error.line - 1
        text = self.lines[index].text.strip()
        if not text:
            return False
        if not text.startswith("<"):
            self._replace(index)
            return True
        first, last = self._section(index)
        missing = _MISSING.search(str(error))
        if missing is not None and missing[1] in _REPLACED and self._add(first, last, missing[1]):
            return True
        match = _BEGIN.match(self.lines[first].text)
        if match is None:
            for each in range(first, last + 1):
                self._empty(each)
            return True
        type_, name, slash = match.groups()
        outside = self._is_outside(first)
        if outside and type_.lower() == "zeo":
            return False
        for each in range(first, last + 1):
            self._empty(each)
        if outside and type_.lower() not in (*_NO_STORAGES, _IN_MEMORY) and (slash or last > first):
            self._write(first, f"<{_IN_MEMORY} {name}".rstrip() + f"{slash}>")
            if last > first:
                self._write(last, f"</{_IN_MEMORY}>")
        return True

    def _add(self, first: int, last: int, key: str) -> bool:
        """Add a missing key to a section; return False if that was done already."""
        text = f"{key} {_REPLACED[key]}"
        if last == first or any(line.text == text for line in self.lines[first : last + 1]):
            return False
        self.lines.insert(first + 1, Line(0, text))
        return True

    def _close(self, type_: str, line: int | None) -> bool:
        end = f"</{type_}>"
        if line is None:
            self.lines.append(Line(self.lines[-1].number, end))
            return True
        index = line - 1
        closed = self.lines[index].text.strip().lower()
        if closed.startswith("</") and closed[2:-1].strip() not in self._types_before(index):
            # The name of the section is misspelt here.
            self._write(index, end)
        else:
            self.lines.insert(index, Line(self.lines[index].number, end))
        return True

    def _types_before(self, index: int) -> set[str]:
        matches = (_BEGIN.match(line.text) for line in self.lines[:index])
        return {match[1].lower() for match in matches if match is not None}

    def _empty(self, index: int) -> None:
        if self.lines[index].text.strip():
            self._out.append(self.lines[index])
        self._write(index, "")

    def _replace(self, index: int) -> None:
        """Leave out the line of a key."""
        text = self.lines[index].text
        key = text.split()[0]
        self._empty(index)
        value = _REPLACED.get(key.lower())
        if value is not None and text != f"{key} {value}":
            self._write(index, f"{key} {value}")

    def _write(self, index: int, text: str) -> None:
        self.lines[index] = Line(self.lines[index].number, text)

    def _is_outside(self, index: int) -> bool:
        """Return whether a line is within no section."""
        return sum(step for _, step in self._steps(0, index)) <= 0

    def _section(self, index: int) -> tuple[int, int]:
        """Return the first and the last line of the section that begins or ends at a line."""
        if self.lines[index].text.strip().startswith("</"):
            depth = 0
            for each, step in reversed(list(self._steps(0, index + 1))):
                depth -= step
                if depth <= 0:
                    return each, index
            return index, index
        depth = 0
        for each, step in self._steps(index, len(self.lines)):
            depth += step
            if depth <= 0:
                return index, each
        return index, index

    def _steps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the lines at which sections begin and end, and how the depth changes there."""
        for index in range(start, stop):
            text = self.lines[index].text.strip()
            if text.startswith("</"):
                yield index, -1
            elif text.startswith("<"):
                match = _BEGIN.match(text)
                yield index, 0 if match is not None and match[3] else 1
