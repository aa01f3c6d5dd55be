"""Load ZConfig files, and say in one line what is wrong with one, where, and what to do."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from functools import lru_cache
from io import StringIO
from typing import Any, TextIO

import ZConfig
from ZConfig.loader import ConfigLoader, Resource, SchemaLoader

__all__ = ["ConfigurationError", "Loader"]


class ConfigurationError(ValueError):
    """A configuration cannot be used. The message is one line: where, what, and the remedy."""


#: What to do about ZConfig's own messages, which only say what is wrong.
_REMEDIES = [
    (
        "malformed section|unbalanced section|unexpected section|unclosed sections",
        "write every <section> on a line of its own and close it with </section>",
    ),
    ("malformed configuration", "write a key, a blank and a value"),
    ("directive", "only %define, %import and %include are known, each with an argument"),
    (
        "unknown type name",
        "correct the section's type, or add an %import of the package that defines it",
    ),
    ("abstract section type", "name the kind of storage, as in <filestorage>"),
    ("no matching section", "move the section to where it belongs, or remove it"),
    ("too many instances", "keep one of these sections"),
    ("must not be re-used", "give each of these sections a name of its own"),
    ("does not support multiple values", "keep one of these lines"),
    ("no values for section type '(.*?)'", r"add a section <\1>"),
    ("no values for '(.*?)'", r"add a line that begins with \1"),
    ("not enough values for section type 'zodb.storage'", "add a section such as <filestorage>"),
    ("not enough values for '(.*?)'", r"add a line that begins with \1"),
    ("no replacement for|'\\$|lone '\\$'", "%define the name above, or write $$ for a dollar sign"),
    ("redefine '", "keep one %define of a name"),
    ("not a substitution legal name", "use letters, digits and underscores only"),
    (
        "could not load package|illegal schema component",
        "install that package, or correct its name",
    ),
    (
        "type name cannot be redefined",
        "remove the %import, or write %import zeotwisted for %import ZEO",
    ),
    ("error opening schema component", "correct the package's name, as it has no component.xml"),
    ("error opening|unknown url type", "correct the path"),
]

#: What to write, for ZConfig's own data types, by their names in a schema.
_EXPECTED = {
    "boolean": "write on or off",
    "byte-size": "write a whole number of bytes, or one with KB, MB or GB behind it",
    "existing-dirpath": "create the directory, or correct the path",
    "float": "write a number",
    "integer": "write a whole number",
    "time-interval": "write a whole number with s, m, h or d behind it",
}


@lru_cache
def _schema(name: str) -> Any:
    return SchemaLoader().loadURL(f"package:zeotwisted.config:{name}")


class _Lines:
    """The lines of one resource as the parser reads them, for ZConfig's errors without a line."""

    def __init__(self, file: TextIO, url: str | None) -> None:
        self._file = file
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
    """Load one configuration, and remember what its errors need to be placed and explained.

    :param schema: name of a schema in this package.
    :param source: what to call the configuration in errors: its path, as the user wrote it.
    :param url: the configuration's URL, which relative paths of %include start from.
    """

    def __init__(self, schema: str, source: str, url: str | None = None) -> None:
        super().__init__(_schema(schema))
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
            # Data types of other packages, and packages that fail on import, raise anything.
            # Their tracebacks are for these packages' authors, so keep them.
            what = f"{type(error).__name__}: {_first_line(str(error))}"
            remedy = "correct this line, or the package that it names"
            raise self._error(self._position(), what, remedy) from error
        return config

    def section_error(self, section: Any, what: str, remedy: str) -> ConfigurationError:
        """Return an error about a whole section, placed at the line that begins it."""
        matcher = getattr(section, "getSectionMatcher", lambda: None)()
        return self._error(self._starts.get(matcher), what, remedy)

    # What ZConfig's loader offers to be overridden or extended.

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
        # Only now: after an error this must still be the section that has it.
        self._open_sections.pop()

    # Errors

    def _position(self) -> tuple[str | None, int] | None:
        """Return URL and number of the line being parsed; None when all is read."""
        for resource in reversed(self._resources):
            if resource.lines and not resource.exhausted:
                return resource.url, len(resource.lines)
        return None

    def _explained(self, error: ZConfig.ConfigurationError) -> ConfigurationError:
        line = getattr(error, "lineno", None) or -1
        position = (error.url, line) if line > 0 else self._position()
        what = _first_line(error.message)
        if isinstance(error, ZConfig.DataConversionError):
            key, remedy = self._conversion(position)
            if what.startswith(("invalid literal for int", "could not convert string to float")):
                what = f"{error.value!r} is not a number"
            if key:
                what = f"{key}: {what}"
        else:
            remedy = self._remedy(what)
        return self._error(position, what, remedy)

    def _conversion(self, position: tuple[str | None, int] | None) -> tuple[str, str]:
        """Return the key whose value cannot be converted, and what to write for it."""
        if position is None:
            return "", "correct the value"
        words = self._line(*position).split(None, 1)
        key = words[0].lower() if words else ""
        for name, info in self._keys():
            if name == key:
                datatype = self.schema.registry.find_name(info.datatype)
                # The messages of our own data types say what to write.
                ours = datatype.startswith("zeotwisted.")
                return key, "" if ours else _EXPECTED.get(datatype, "correct the value")
        return "", "correct this line"

    def _remedy(self, what: str) -> str:
        if "is not a known key name" in what:
            keys = ", ".join(name for name, _ in self._keys())
            if not self._open_sections:
                return "move the line into the section that it belongs to"
            return f"<{self._open_sections[-1].type.name}> has the keys {keys}"
        for pattern, remedy in _REMEDIES:
            match = re.search(pattern, what)
            if match:
                return match.expand(remedy)
        return "correct this line"

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
        where = self._source
        if position is not None:
            url, line = position
            if url is not None and url != self._url:
                where = _path(url)
            where = f"{where}, line {line}"
        return ConfigurationError("; ".join(filter(None, (f"{where}: {what}", remedy))))


def _path(url: str) -> str:
    if url.startswith("file:"):
        return urllib.request.url2pathname(url.removeprefix("file:").removeprefix("//"))
    return url


def _first_line(message: str) -> str:
    # Some messages bring a traceback along, after their first line.
    return message.strip().partition("\n")[0].strip().rstrip(".")
