"""The daemon's log: the sources of its lines, and the files and streams. `logs` has a diagram.

Rule: lines flow one way. No caller waits for a log, and a log does not log its own failures.
"""

from __future__ import annotations

from .jsonlines import json_line
from .logs import EventLog, FileLog, show_in_twisted_log, silence, writes_to_terminal
from .style import LogStyle

__all__ = [
    "EventLog",
    "FileLog",
    "LogStyle",
    "json_line",
    "show_in_twisted_log",
    "silence",
    "writes_to_terminal",
]
