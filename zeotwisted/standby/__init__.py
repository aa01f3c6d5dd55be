"""A standby: follows a primary transaction by transaction, and can take its place.

`service` is the life of one standby: it follows, is promoted, or refuses to follow. `copy` writes
transactions into its storage, with the primary's ids. `history` finds out whether the storage is
the beginning of the primary's, and names what only one of them has. `lag` is how far it is behind,
and tells the log. `marker` is the file that says that a standby has been promoted.
Rule: what the storage has is the beginning of what the primary has; otherwise it is not changed.
"""

from __future__ import annotations

from .copy import CannotCopy
from .history import Diverged
from .service import Standby

__all__ = ["CannotCopy", "Diverged", "Standby"]
