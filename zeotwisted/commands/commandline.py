"""Finds and runs a sub-command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any, NoReturn

from zeotwisted.version import __version__

from .errors import CommandError
from .output import OutputClosed, checked_output

__all__ = ["COMMANDS", "main", "parser"]

#: The sub-commands, in the order of the help. Each is a module of this package.
COMMANDS = (
    "serve",
    "status",
    "check",
    "ping",
    "health",
    "clients",
    "disconnect",
    "locks",
    "pack",
    "verify",
    "copy",
    "backup",
    "restore",
    "changes",
    "standby",
    "promote",
    "certs",
    "user",
    "postgresql",
    "completion",
)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage.

    :ivar mistake: the exit code for a mistake.
    """

    mistake = 1

    def error(self, message: str) -> NoReturn:
        self.exit(self.mistake, f"{self.prog}: {message}; {self.prog} --help shows how to use it\n")


def parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the command line, with some of its sub-commands."""
    whole = _Parser(prog="zeotwisted", description="Tools for servers of zeotwisted.")
    whole.add_argument("--version", action="version", version=f"zeotwisted {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    chosen = tuple(names)
    for name in chosen:
        module: Any = import_module(f"{__package__}.{name}")
        command: Any = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=f"{module.SUMMARY}.",
            **getattr(module, "PARSER", {}),
        )
        command.mistake = getattr(module, "MISTAKE", 1)
        if len(chosen) == 1:
            # It reports arguments that the sub-command does not know.
            whole.mistake = command.mistake
        module.configure(command)
        command.set_defaults(run=module.run, of=module)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if all went well.

    :param arguments: those of the command line by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Others need not be imported, which would take longer than a health check.
    names = given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS
    parsed = parser(names).parse_args(given)
    # A daemon's log may be lost; the daemon goes on.
    is_daemon = getattr(parsed.of, "DAEMON", False)
    mistake: int = getattr(parsed.of, "MISTAKE", 1)
    try:
        with nullcontext() if is_daemon else checked_output():
            code: int = parsed.run(parsed)
    except CommandError as error:
        print(f"zeotwisted: {error}", file=sys.stderr)
        return mistake
    except (KeyboardInterrupt, OutputClosed):
        return mistake
    return code
