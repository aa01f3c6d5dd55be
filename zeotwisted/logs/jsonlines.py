"""The log as lines of JSON, one object for each event."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from twisted.logger import LogEvent, formatEvent

__all__ = ["json_line"]

#: The longest text of a value, in characters. A traceback may be ten times as long.
_LONGEST = 2000

#: Values of an event that have fields of their own, or are parts of the machinery of the log.
_OWN = frozenset({"label", "id", "storage_id", "transaction"})


def json_line(event: LogEvent) -> str | None:
    """Return the line for an event; None for an event without a text.

    The fields are ``time`` (UTC), ``level``, ``part`` (what has logged it) and ``message``. There
    may be ``client`` (an object with ``label``, ``user`` and ``address``, as far as they are
    known), ``storage``, ``transaction`` (its id in hexadecimal), ``traceback``, and the numbers and
    texts that are in the message, by their names.
    """
    message = formatEvent(event)
    if not message and "log_failure" not in event:
        return None
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], timezone.utc).isoformat(
            "T", "milliseconds"
        ),
        "level": "info" if level is None else level.name,
        "part": event.get("log_namespace", "-"),
        "message": _cut(message, _LONGEST),
    }
    label = event.get("label")
    if label is not None:
        # The label of a client has parts. Of a client that is not known yet it is the address.
        parts = getattr(label, "fields", None) or {"address": str(label)}
        line["client"] = {name: _cut(part, _LONGEST) for name, part in parts.items()}
    storage = event.get("storage_id", event.get("id"))
    if isinstance(storage, str):
        line["storage"] = _cut(storage, _LONGEST)
    transaction = event.get("transaction")
    if isinstance(transaction, bytes):
        line["transaction"] = transaction.hex()
    line |= {
        name: _cut(value, _LONGEST) if isinstance(value, str) else value
        for name, value in event.items()
        if not name.startswith("log_")
        and name not in _OWN
        and name not in line
        and isinstance(value, (str, int, float))
        and f"{{{name}" in str(event.get("log_format", ""))
    }
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = _cut(failure.getTraceback(), 10 * _LONGEST)
    return json.dumps(line, ensure_ascii=False) + "\n"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."
