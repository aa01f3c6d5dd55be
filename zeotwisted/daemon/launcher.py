"""Changes options of ``twistd`` and ``twist``, which stand before ``zeo``: the log, the pid file.

Both programs read all options, then open their log, then make the service. So the options of the
log can still be changed while ``zeo``'s options are read.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any, cast

from twisted.logger import LogLevel, jsonFileLogObserver, textFileLogObserver

from zeotwisted.logs import FileLog, LogStyle, silence

__all__ = ["check_pid_file", "take_over_log"]


def take_over_log(launcher: Any, quiet: bool, style: LogStyle) -> FileLog | None:
    """Have a thread write the launcher's log; return that log.

    None if the launcher writes its log itself, or if nothing is written.

    :param launcher: the options of ``twistd`` or ``twist``; None if there are none.
    :param quiet: write nothing to standard output, because another log uses it.
    :param style: the form of the log.
    :raises SystemExit: the log cannot be written.
    """
    if launcher is None:
        return None
    if "fileLogObserverFactory" in launcher:
        return _take_over_twist(launcher, quiet, style)
    if launcher.get("logger") or launcher.get("syslog"):
        return None
    path = launcher.get("logfile")
    foreground = launcher.get("nodaemon")
    if path == "-" or (foreground and not path):
        if not foreground:
            # twistd reports this error itself: the background has no standard output.
            return None
        log = None if quiet else FileLog.of(sys.stdout)
    else:
        log = _open(path or "twistd.log")
    _for_twistd.append(silence if log is None else style.observer(cast(IO[str], log)))
    launcher["logger"] = f"{__name__}.{make_observer.__name__}"
    return log


#: The result of the next call of `make_observer`. twistd calls that function by name, without
#: arguments.
_for_twistd: list[Any] = []


def make_observer() -> Any:
    """Return the observer that writes twistd's log; twistd calls this."""
    return _for_twistd.pop()


def _open(path: str) -> FileLog:
    try:
        return FileLog.at(os.path.abspath(path))
    except OSError as error:
        raise SystemExit(
            f"zeo: cannot write the log {path}: {error.strerror}; choose another one: "
            "twistd --logfile=PATH zeo"
        ) from None


def _take_over_twist(launcher: Any, quiet: bool, style: LogStyle) -> FileLog | None:
    file = launcher["logFile"]
    if quiet and file in (sys.stdout, sys.stderr):
        launcher["fileLogObserverFactory"] = lambda _: silence
        return None
    make = launcher["fileLogObserverFactory"]
    asked_for = any(argument.startswith("--log-fo") for argument in sys.argv)
    if make is jsonFileLogObserver and not asked_for:
        # This is twist's default without a terminal. It writes texts without their values.
        make = textFileLogObserver
    log = FileLog.of(file)
    if style == LogStyle():
        # twist has options of its own for the format and the level, and applies the level itself.
        launcher["fileLogObserverFactory"] = lambda _: make(log)
    else:
        launcher["logLevel"] = LogLevel.debug
        launcher["fileLogObserverFactory"] = lambda _: style.observer(cast(IO[str], log), make)
    return log


#: Process ids are lower than this.
_TOO_MUCH = 2**31


def check_pid_file(launcher: Any) -> None:
    """Remove twistd's pid file if its process does not run any more.

    twistd reads the file next, and refuses to start if a process with that id runs. In a container
    the daemon is process 1 each time: after the container is killed, the file that is left names
    process 1, and process 1 runs.

    :raises SystemExit: a process with that id runs, or the file cannot be read.
    """
    path = launcher.get("pidfile") if launcher is not None else None
    if not path or not os.path.exists(path):
        return
    instead = "twistd --pidfile=OTHER.pid zeo, or --pidfile= for none"
    try:
        with open(path) as file:
            text = file.read().strip()
        if not text:
            # The disk was full when twistd wrote the file.
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
    """Return the command line of a process; an empty text on systems without ``/proc``."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""
