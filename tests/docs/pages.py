"""The code blocks of the README and of the documentation's pages."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

#: What is printed on the site.
PAGES = sorted(
    [ROOT / "README.rst", ROOT / "benchmarks" / "README.rst", *(ROOT / "docs").rglob("*.rst")]
)

#: A block that is for readers only.
PICTURE = "text"

_DIRECTIVE = re.compile(r"(?P<indent>\s*)\.\. code-block::\s*(?P<language>\S*)")
_OPTION = re.compile(r"\s*:(?P<name>\w+):\s*(?P<value>.*)")
_NOT_RUN = re.compile(r"\s*\.\. not run:(?P<reason>.*)")
_BESIDE = re.compile(r"\s*\.\. run with the next program")


@dataclass
class Block:
    """A code block.

    :ivar where: page and line, for messages.
    :ivar not_run: why it cannot be run here, which may be empty by mistake; None if it is run.
    :ivar beside: whether it runs until the next program has ended.
    """

    where: str
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict)
    not_run: str | None = None
    beside: bool = False

    @property
    def caption(self) -> str | None:
        return self.options.get("caption")


def blocks(text: str, page: str) -> list[Block]:
    """Return the code blocks of a page."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines):
        directive = _DIRECTIVE.fullmatch(line)
        if directive is None:
            continue
        content = _indented(lines[number + 1 :], len(directive["indent"]))
        options = {}
        while content and (option := _OPTION.fullmatch(content[0])):
            options[option["name"]] = option["value"]
            content.pop(0)
        block = Block(
            f"{page}, line {number + 1}",
            directive["language"],
            textwrap.dedent("\n".join(content)).strip("\n") + "\n",
            options,
        )
        comment = _before(lines, number)
        if match := _NOT_RUN.fullmatch(comment):
            block.not_run = match["reason"].strip()
        block.beside = _BESIDE.fullmatch(comment) is not None
        found.append(block)
    return found


def _indented(lines: list[str], indent: int) -> list[str]:
    content = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        content.append(line)
    return content


def _before(lines: list[str], number: int) -> str:
    """Return the last line before a directive that is not empty."""
    return next((line for line in reversed(lines[:number]) if line.strip()), "")


def literal_blocks(text: str) -> list[int]:
    """Return the lines that begin a literal block by two colons, which has no language."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.rstrip().endswith("::") and not line.lstrip().startswith("..")
    ]


def name(page: Path) -> str:
    """Return how to call a page."""
    return str(page.relative_to(ROOT))
