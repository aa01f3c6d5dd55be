"""The command ``zeotwisted``, for operators. Each sub-command is a module here.

A module has `SUMMARY`, one line for the help; `configure`, which adds the arguments to a parser;
and `run`, which gets the parsed arguments and returns the exit code. It raises `CommandError` for a
user's mistake.
"""

from __future__ import annotations

from .commandline import main
from .errors import CommandError

__all__ = ["CommandError", "main"]
