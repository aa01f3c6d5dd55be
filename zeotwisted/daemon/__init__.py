"""The process around a server: makes a running daemon from a configuration, with or without twistd.

The entry points `zeotwisted.tap` and `zeotwisted.localserver` use it.
Rule: an error at the start is one line on the terminal, before a port is open.
"""

from __future__ import annotations

from .certificates import endpoint_files
from .checking import check_file, file_mistakes, place_mistakes, warnings
from .daemon import Daemon, configured_daemon
from .endpoints import endpoint_place, local_endpoint
from .exposure import Place, exposed_http
from .launcher import check_pid_file, take_over_log
from .listening import UNACCEPTED
from .opening import StartError
from .terminal import Terminal
from .twistdfiles import goes_to_background, unwritable_file

__all__ = [
    "UNACCEPTED",
    "Daemon",
    "Place",
    "StartError",
    "Terminal",
    "check_file",
    "check_pid_file",
    "configured_daemon",
    "endpoint_files",
    "endpoint_place",
    "exposed_http",
    "file_mistakes",
    "goes_to_background",
    "local_endpoint",
    "place_mistakes",
    "take_over_log",
    "unwritable_file",
    "warnings",
]
