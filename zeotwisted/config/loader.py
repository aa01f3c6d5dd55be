"""Loads ZConfig files, and reports an error as one line: the place, the mistake and the remedy."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Sequence
from functools import lru_cache
from io import StringIO
from typing import Any, TextIO

import ZConfig
from ZConfig.loader import ConfigLoader, Resource, SchemaLoader

from .remedies import EXPECTED, for_message, unknown_key, unknown_section

__all__ = ["ConfigurationError", "Loader", "read_schema"]


class ConfigurationError(ValueError):
    """A configuration cannot be used. The message is one line: place, mistake and remedy.

    :ivar line: the number of the line in the text that was parsed, from 1; None if it has none, or
        if the mistake is in a file that the configuration includes.
    :ivar unclosed: the type of the section whose end is missing before that line, or None.
    :ivar more: other mistakes that were found in the same configuration.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.unclosed: str | None = None
        self.more: tuple[ConfigurationError, ...] = ()


#: A line "key = value", as other formats of configurations have it.
_ASSIGNED = re.compile(r"\s*([A-Za-z][\w.-]*)\s+=\s(?=\s*\S)")

#: A key whose value nobody may see, and the value. A dsn may contain a password; the name of a
#: password-function is none.
_SECRET = re.compile(
    r"\s*(?:(?!password-function\b)[\w.-]*(?:pass|secret)[\w.-]*|dsn)\s*[=:\s]\s*(.*\S)",
    re.IGNORECASE,
)

#: ZConfig's errors that may mean that the end of a section is missing.
_UNCLOSED = re.compile("no matching section|unclosed section|unbalanced section end")


@lru_cache
def read_schema(name: str) -> Any:
    """Return the schema in a file of this package."""
    return SchemaLoader().loadURL(f"package:zeotwisted.config:{name}")


class _Lines:
    """A file that counts the lines that the parser has read.

    Some of ZConfig's errors have no line number; the last line that was read is the right one.
    """

    def __init__(self, file: TextIO, url: str | None) -> None:
        with file:
            #: The whole text, also the lines that the parser has not read yet.
            self.text = file.read()
        self._file = StringIO(self.text)
        self.url = url
        self.lines: list[str] = []
        self.exhausted = False

    def readline(self) -> str:
        line = self._file.readline()
        if line:
            self.lines.append(line)
        else:
            self.exhausted = True
        return line

    def read(self, size: int = -1) -> str:
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


class Loader(ConfigLoader):
    """Loads one configuration, and records what it needs to explain errors.

    :param schema: name of a schema in this package.
    :param source: the configuration's name in errors: its path, as the user wrote it.
    :param url: the configuration's URL, to which paths of %include are relative.
    :param numbers: the numbers of the configuration's lines for messages, if not 1, 2, 3...
    """

    def __init__(
        self,
        schema: str,
        source: str,
        url: str | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(read_schema(schema))
        self._numbers = numbers
        self._source = source
        self._url = url
        self._resources: list[_Lines] = []
        self._open_sections: list[Any] = []
        self._starts: dict[Any, tuple[str | None, int]] = {}

    def load(self, text: str) -> Any:
        """Return the section value of the configuration `text`.

        :raises ConfigurationError: it has any error.
        """
        try:
            config, _ = self.loadFile(StringIO(text), self._url)
        except ZConfig.ConfigurationError as error:
            raise self._explained(error) from None
        except Exception as error:
            # Data types of other packages may raise any exception, and so may an import. Keep the
            # traceback for the authors of these packages.
            what = f"{type(error).__name__}: {_first_line(str(error))}"
            remedy = "correct this line, or the package that it names"
            if isinstance(error, RecursionError):
                remedy = for_message("RecursionError")
            raise self._error(self._position(), what, remedy) from error
        return config

    def section_error(
        self, section: Any, what: str, remedy: str, key: str | None = None
    ) -> ConfigurationError:
        """Return an error about a section, placed at the line of a key, or at the section's."""
        matcher = getattr(section, "getSectionMatcher", lambda: None)()
        position = None if key is None else self._key_position(matcher, key)
        return self._error(position or self._starts.get(matcher), what, remedy)

    def key_error(self, section: Any, key: str, what: str, remedy: str) -> ConfigurationError:
        """Return an error about a key of a section, placed at the line of the key."""
        return self.section_error(section, f"{key}: {what}", remedy, key)

    def key_place(self, section: Any, key: str) -> str | None:
        """Return file and line of a key of a section; None if the section does not have the key.

        :param key: the key, or empty for the section.
        """
        matcher = section.getSectionMatcher()
        position = self._key_position(matcher, key) if key else self._starts.get(matcher)
        return None if position is None else self._place(position)

    def _key_position(self, matcher: Any, key: str) -> tuple[str | None, int] | None:
        url, start = self._starts.get(matcher, (None, 0))
        if not start:
            return None
        depth = 0
        for resource in reversed(self._resources):
            if resource.url != url:
                continue
            for number, line in enumerate(resource.lines[start:], start + 1):
                text = line.strip()
                if text.startswith("</"):
                    depth -= 1
                    if depth < 0:
                        break
                elif text.startswith("<"):
                    depth += not text.endswith("/>")
                elif depth == 0 and text.split(None, 1)[:1] and text.split()[0].lower() == key:
                    return url, number
            return None
        return None

    # Overrides of ZConfig's loader.

    def createResource(self, file: TextIO, url: str | None) -> Any:
        lines = _Lines(file, url)
        self._resources.append(lines)
        return Resource(lines, url)

    def startSection(self, parent: Any, type_: str, name: str | None) -> Any:
        matcher = super().startSection(parent, type_, name)
        self._open_sections.append(matcher)
        position = self._position()
        if position is not None:
            self._starts[matcher] = position
        return matcher

    def endSection(self, parent: Any, type_: str, name: str | None, matcher: Any) -> None:
        super().endSection(parent, type_, name, matcher)
        # After super(): if that raises, the last item must still be the section with the error.
        self._open_sections.pop()

    # Errors

    def _position(self) -> tuple[str | None, int] | None:
        """Return URL and number of the line that is being parsed; None after the last line."""
        for resource in reversed(self._resources):
            if resource.lines and not resource.exhausted:
                return resource.url, len(resource.lines)
        return None

    def _explained(self, error: ZConfig.ConfigurationError) -> ConfigurationError:
        line = getattr(error, "lineno", None) or -1
        position = (error.url, line) if line > 0 else self._position()
        what = _first_line(error.message)
        if isinstance(error, ZConfig.DataConversionError):
            key, expected, remedy = self._conversion(position)
            if "did not match regular expression" in what:
                # ZConfig also converts the key's name. Then the error is not about the value.
                key, remedy = "", for_message(what)
            if what.startswith(("invalid literal for int", "could not convert string to float")):
                what = f"{error.value!r} is not {expected}"
            if key:
                what = f"{key}: {what}"
            misspelt = _misspelt(str(error.value))
            if misspelt is not None:
                what, remedy = what.partition("; ")[0], misspelt
        elif self._is_unclosed(what):
            return self._unclosed(position)
        else:
            what, remedy = self._remedy(what)
        return self._error(position, what, remedy)

    def _conversion(self, position: tuple[str | None, int] | None) -> tuple[str, str, str]:
        """Return the key in the line at `position`, the kind of value it needs, and the remedy."""
        if position is None:
            return "", "a number", "correct the value"
        words = self._line(*position).split(None, 1)
        key = words[0].lower() if words else ""
        for name, info in self._keys():
            if name == key:
                datatype = self.schema.registry.find_name(info.datatype)
                if datatype.startswith("zeotwisted."):
                    # The messages of our own data types say what to write.
                    return key, "a number", ""
                return key, *EXPECTED.get(datatype, ("a number", "correct the value"))
        return "", "a number", "correct this line"

    def _is_unclosed(self, what: str) -> bool:
        """Return whether the end of the open section is missing."""
        if not self._open_sections or not _UNCLOSED.search(what):
            return False
        type_ = re.escape(self._open_sections[-1].type.name)
        lines = [line for resource in self._resources for line in resource.text.splitlines()]
        begin = re.compile(rf"\s*<{type_}(\s[^>]*)?(?<!/)>", re.IGNORECASE)
        end = re.compile(rf"\s*</{type_}\s*>", re.IGNORECASE)
        return len(list(filter(begin.match, lines))) > len(list(filter(end.match, lines)))

    def _unclosed(self, position: tuple[str | None, int] | None) -> ConfigurationError:
        """Return the error that the end of the open section is missing."""
        matcher = self._open_sections[-1]
        start = self._number(self._starts.get(matcher, (None, 0)))
        name = matcher.type.name
        error = self._error(
            position,
            f"<{name}> of line {start} is not closed",
            f"add a line </{name}> after its keys",
        )
        error.unclosed = name
        if self._position() is None:
            error.line = None
        return error

    def _remedy(self, what: str) -> tuple[str, str]:
        key = re.match("'(.*)' is not a known key name", what)
        if key is not None:
            if not self._open_sections:
                return what, "move the line into the section that it belongs to"
            keys = [name for name, _ in self._keys()]
            return unknown_key(key[1], self._open_sections[-1].type.name, keys)
        section = re.match("unknown type name: '(.*)'", what)
        remedy = unknown_section(section[1], list(self.schema.gettypenames())) if section else None
        return what, remedy or for_message(what)

    def check_lines(self) -> None:
        """Refuse lines such as ``path = Data.fs``.

        ZConfig makes the equals sign a part of the value, here of the file's name.

        :raises ConfigurationError: there is such a line.
        """
        for resource in self._resources:
            for number, line in enumerate(resource.lines, 1):
                match = _ASSIGNED.match(line)
                if match is not None:
                    value = line[match.end() :].strip()
                    raise self._error(
                        (resource.url, number),
                        f"{match[1]}: the value begins with =",
                        f"write {match[1]} {value}",
                    )

    def _keys(self) -> Iterator[tuple[str, Any]]:
        if self._open_sections:
            for name, info in self._open_sections[-1].type:
                if name and not info.issection():
                    yield name, info

    def _line(self, url: str | None, number: int) -> str:
        for resource in reversed(self._resources):
            if resource.url == url and len(resource.lines) >= number:
                return resource.lines[number - 1]
        return ""

    def _error(
        self, position: tuple[str | None, int] | None, what: str, remedy: str
    ) -> ConfigurationError:
        where, line = self._source, None
        if position is not None:
            where = self._place(position)
            line = position[1] if position[0] == self._url else None
            what, remedy = (_without_secret(text, self._line(*position)) for text in (what, remedy))
        return ConfigurationError("; ".join(filter(None, (f"{where}: {what}", remedy))), line)

    def _place(self, position: tuple[str | None, int]) -> str:
        url, _ = position
        where = self._source if url is None or url == self._url else _path(url)
        return f"{where}, line {self._number(position)}"

    def _number(self, position: tuple[str | None, int]) -> int:
        """Return the number of a line for messages."""
        url, line = position
        if self._numbers is None or url != self._url:
            return line
        return self._numbers[min(line, len(self._numbers)) - 1]


def _path(url: str) -> str:
    if url.startswith("file:"):
        return urllib.request.url2pathname(url.removeprefix("file:").removeprefix("//"))
    return url


def _without_secret(text: str, line: str) -> str:
    """Return a message about a line, without what is in the line if that may be a password."""
    match = _SECRET.match(line)
    if match is None:
        return text
    # ZConfig's messages may have the whole value, or a word of it.
    parts = [match[1], *re.findall(r"[^\s='\"${}]+", match[1])]
    return re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, parts))})(?!\w)", "...", text)


def _misspelt(value: str) -> str | None:
    """Return the remedy for a mistake that is possible with any key; None if there is none."""
    if value.startswith(("=", ": ")):
        return f"write the value without {value[0]}"
    if value[:1] in ('"', "'"):
        return "write the value without quotes"
    if " #" in value:
        return "move the comment to a line of its own"
    return None


def _first_line(message: str) -> str:
    # Some messages contain a traceback after their first line.
    return message.strip().partition("\n")[0].strip().rstrip(".")
