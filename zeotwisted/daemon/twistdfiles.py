"""Checks twistd's own files before the fork: twistd opens them after it has left the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from zeotwisted.files import unwritable

__all__ = ["goes_to_background", "unwritable_file"]


def goes_to_background(options: Mapping[str, Any] | None) -> bool:
    """Return whether the launcher will leave the terminal; ``twist`` never does.

    :param options: the options before ``zeo``, of ``twistd`` or ``twist``.
    """
    return options is not None and "nodaemon" in options and not options["nodaemon"]


def unwritable_file(options: Mapping[str, Any] | None) -> str | None:
    """Return which of twistd's files cannot be written, why, and the remedy; None if all can.

    :param options: the options before ``zeo``, of ``twistd`` or ``twist``.
    """
    if options is None or "pidfile" not in options or options.get("chroot"):
        return None
    for option, path in _files(options):
        problem = unwritable(path)
        if problem is not None:
            return f"--{option} {path}: {problem}"
    return None


def _files(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    files = []
    if not (options.get("syslog") or options.get("logger")):
        logfile = options.get("logfile")
        if not logfile and goes_to_background(options):
            logfile = "twistd.log"
        if logfile and logfile != "-":
            files.append(("logfile", logfile))
    if options["pidfile"]:
        # twistd changes to --rundir before it writes the pid file.
        files.append(("pidfile", os.path.join(options.get("rundir") or ".", options["pidfile"])))
    return [(option, os.path.normpath(path)) for option, path in files]
