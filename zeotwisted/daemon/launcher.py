"""What ``twistd`` and ``twist`` were told before ``zeo``, as far as the daemon has a say in it.

Both read all options, then make their log, then ask for the service. So what they are to do about
the log can be changed while ``zeo``'s options are read.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    jsonFileLogObserver,
    textFileLogObserver,
)

from zeotwisted.logs import FileLog, silence

__all__ = ["check_pid_file", "take_over_log"]


def take_over_log(launcher: Any, quiet: bool) -> FileLog | None:
    """Have the launcher's log written by a thread; return it, or None if the launcher does it.

    :param launcher: the options of ``twistd`` or ``twist``.
    :param quiet: standard output is another log's.
    :raises SystemExit: the log cannot be written.
    """
    if launcher is None:
        return None
    if "fileLogObserverFactory" in launcher:
        return _take_over_twist(launcher, quiet)
    if launcher.get("logger") or launcher.get("syslog"):
        return None
    path = launcher.get("logfile")
    foreground = launcher.get("nodaemon")
    if path == "-" or (foreground and not path):
        if not foreground:
            # It refuses that itself.
            return None
        log = None if quiet else FileLog.of(sys.stdout)
    else:
        log = _open(path or "twistd.log")
    _for_twistd.append(log)
    launcher["logger"] = f"{__name__}.{make_observer.__name__}"
    return log


#: The logs that twistd is about to ask for. It asks for them by the name of a function.
_for_twistd: list[FileLog | None] = []


def make_observer() -> Any:
    """Return what twistd is to write its log with; twistd calls this."""
    log = _for_twistd.pop()
    if log is None:
        return silence
    # What is for debugging would be most of the log: a line for each connection.
    return FilteringLogObserver(
        textFileLogObserver(cast(IO[str], log)), [LogLevelFilterPredicate(LogLevel.info)]
    )


def _open(path: str) -> FileLog:
    try:
        return FileLog.at(os.path.abspath(path))
    except OSError as error:
        raise SystemExit(
            f"zeo: cannot write the log {path}: {error.strerror}; choose another one: "
            "twistd --logfile=PATH zeo"
        ) from None


def _take_over_twist(launcher: Any, quiet: bool) -> FileLog | None:
    file = launcher["logFile"]
    if quiet and file in (sys.stdout, sys.stderr):
        launcher["fileLogObserverFactory"] = lambda _: silence
        return None
    make = launcher["fileLogObserverFactory"]
    asked_for = any(argument.startswith("--log-fo") for argument in sys.argv)
    if make is jsonFileLogObserver and not asked_for:
        # It is twist's default where there is no terminal, and leaves texts without their values.
        make = textFileLogObserver
    log = FileLog.of(file)
    launcher["fileLogObserverFactory"] = lambda _: make(log)
    return log


#: No process has such a number.
_TOO_MUCH = 2**31


def check_pid_file(launcher: Any) -> None:
    """Remove the file with the process's number if the process is gone; twistd looks at it next.

    After a container was killed, its file names process 1, and so it is called the next time.

    :raises SystemExit: a process with that number runs.
    """
    path = launcher.get("pidfile") if launcher is not None else None
    if not path or not os.path.exists(path):
        return
    instead = "twistd --pidfile=OTHER.pid zeo, or --pidfile= for none"
    try:
        with open(path) as file:
            text = file.read().strip()
        if not text:
            # The disk was full when it was written.
            os.remove(path)
            return
        pid = int(text)
        if not 0 < pid < _TOO_MUCH:
            raise ValueError(pid)
    except OSError as error:
        raise SystemExit(f"zeo: cannot read {path}: {error.strerror}; use another one: {instead}")
    except ValueError:
        raise SystemExit(f"zeo: {path} has no process number in it; remove it")
    command = _command(pid)
    if pid == os.getpid() or (pid == 1 and "twist" not in command):
        os.remove(path)
    elif _lives(pid):
        what = f" ({command[:60]})" if command else ""
        raise SystemExit(
            f"zeo: {os.path.abspath(path)} names process {pid}{what}, which is running; if that is "
            f"another daemon, give this one a file of its own: {instead}; otherwise remove the file"
        )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # The process belongs to another user.
        return True
    return True


def _command(pid: int) -> str:
    """Return the command line of a process, where the system tells it."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""
