"""Finds and runs a sub-command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from zeotwisted.version import __version__

from .errors import CommandError

__all__ = ["COMMANDS", "main"]

#: The sub-commands, in the order of the help. Each is a module of this package.
COMMANDS = ("backup", "certs", "changes", "health", "postgresql", "restore", "user")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}; {self.prog} --help shows how to use it\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="zeotwisted", description="Tools for servers of zeotwisted.")
    parser.add_argument("--version", action="version", version=f"zeotwisted {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        module: Any = import_module(f"{__package__}.{name}")
        command = commands.add_parser(name, help=module.SUMMARY, description=f"{module.SUMMARY}.")
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if all went well.

    :param arguments: those of the command line by default.
    """
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except CommandError as error:
        print(f"zeotwisted: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return code
