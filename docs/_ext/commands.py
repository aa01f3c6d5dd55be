"""A directive that describes the command ``zeotwisted`` from its parsers.

``.. zeotwisted-commands::``
    Each sub-command, with its arguments.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from settings import Generated
from sphinx.application import Sphinx

from zeotwisted.commands import parser


def _text(help: str | None) -> str:
    """Return a help text as reStructuredText, as sentences."""
    text = (help or "").replace("%%", "%")
    default = re.search(r"\s*\[(default.*)\]$", text)
    if default:
        text = text[: default.start()]
    text = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"``\1``", text).rstrip(".")
    text = f"{text[:1].upper()}{text[1:]}."
    if default:
        text += f" {default[1][:1].upper()}{default[1][1:]}."
    return text


def _lines(command: argparse.ArgumentParser, summary: str, mark: str) -> Iterator[str]:
    yield command.prog.removeprefix("zeotwisted ")
    yield mark * 60
    yield ""
    yield _text(summary)
    yield ""
    yield ".. code-block:: text"
    yield ""
    usage = command.format_usage().removeprefix("usage: ")
    yield from (f"    {line}" for line in usage.splitlines())
    yield ""
    yield f".. program:: {command.prog}"
    yield ""
    below: dict[str, tuple[argparse.ArgumentParser, str]] = {}
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            below = {name: (each, helps[name]) for name, each in action.choices.items()}
        elif action.dest != "help":
            yield from _argument(action)
    for each, help in below.values():
        yield from _lines(each, help, "^" if mark == "-" else "~")


def _argument(action: argparse.Action) -> Iterator[str]:
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if not action.option_strings and action.choices:
        value = "|".join(map(str, action.choices))
    name = f"{', '.join(action.option_strings)} {value}".strip()
    yield f".. option:: {name}"
    yield ""
    yield f"   {_text(action.help)}"
    yield ""


def command_lines() -> Iterator[str]:
    """Return the description of all commands as reStructuredText."""
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for name, command in action.choices.items():
                yield from _lines(command, helps[name], "-")


class ZeotwistedCommands(Generated):
    """See the module."""

    def lines(self) -> Iterator[str]:
        return command_lines()


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("zeotwisted-commands", ZeotwistedCommands)
    return {"parallel_read_safe": True}
