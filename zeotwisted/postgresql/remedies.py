"""What to do about an error of RelStorage, or of its driver, on PostgreSQL."""

from __future__ import annotations

import re

__all__ = ["explain", "remedy"]

#: The first pattern that is found in the text of an error decides.
_REMEDIES = (
    (
        "during recovery|in a read-only transaction",
        "this is a standby; use the data source of the primary server, or, to serve readers only, "
        "write create-schema false and read-only true",
    ),
    (
        "permission denied for",
        "use the role that owns the tables; or GRANT ALL on the tables and sequences of RelStorage "
        "to this role, and write create-schema false",
    ),
    (
        "no unique constraint matching given keys for referenced table|"
        "history-preserving adapter can ?not connect",
        "write keep-history false, as this database keeps no history; or, if it is empty, open it "
        "once without create-schema false",
    ),
    (
        "history-free adapter can ?not connect",
        "write keep-history true, as this database keeps history",
    ),
    (
        "no password supplied|password authentication failed",
        "write the role's password into ~/.pgpass of the user that the daemon runs as",
    ),
    (
        "^connection to server|^could not translate host",
        "check the data source, and whether the server runs",
    ),
)


def remedy(text: str) -> str | None:
    """Return what to do about an error with this text; None if it is none of these errors."""
    return next((found for pattern, found in _REMEDIES if re.search(pattern, text)), None)


def explain(error: BaseException) -> str | None:
    """Return the first line of an error, and a remedy; None if it is none of these errors."""
    text = str(error)
    found = remedy(text)
    return None if found is None else f"{text.splitlines()[0].rstrip('.')}; {found}"
