"""The command ``zeotwisted``, for operators. Each sub-command is a module here.

A module has `SUMMARY`, one line for the help; `configure`, which adds the arguments to a parser;
and `run`, which gets the parsed arguments and returns the exit code: 0 if all went well, 1 after a
mistake or a failure. It raises `CommandError` for these, whose text is one line. `MISTAKE` is the
exit code for a mistake in the arguments if it is another one, and `PARSER` has further arguments of
the parser.

`target` has the arguments of commands that talk to a server. `connecting` connects as a client, and
`ruok` asks without being one. `progress` shows how far a long command is, and `shown` writes sizes,
durations and tables. `commandline` and `completion` know the commands by their parsers.

The parsers are argparse's: it is there, errors are one line by one method, and the pages and the
completion read it. Progress is a line of our own; see ``docs/dependencies.rst``.
"""

from __future__ import annotations

from .commandline import main, parser
from .errors import CommandError

__all__ = ["CommandError", "main", "parser"]
