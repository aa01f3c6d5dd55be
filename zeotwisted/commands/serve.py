"""``zeotwisted serve``: the daemon in the foreground, as ``twistd -n zeo`` runs it."""

from __future__ import annotations

import argparse
import sys

__all__ = ["DAEMON", "PARSER", "SUMMARY", "configure", "run"]

SUMMARY = "Serve storages, in the foreground; the options are those of twistd zeo"

#: Everything is an argument for ``twistd zeo``, also ``--help``.
PARSER = {"prefix_chars": "\0", "add_help": False}

#: It writes a log to standard output, and does not end if that is full.
DAEMON = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "options", nargs="*", metavar="OPTION", help="as twistd zeo has them; --help shows them"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it. The process exits with the daemon's code."""
    from twisted.scripts.twistd import run as twistd

    # Whoever runs it in the foreground knows its process, so there is no file for its id.
    # The daemon's options name the program in their help.
    sys.argv = ["zeotwisted serve", "--nodaemon", "--pidfile=", "zeo", *arguments.options]
    twistd()
    return 0
