"""What the daemon tells browsers, Prometheus and health checks, over HTTP.

`service` listens. `guard` bounds what visitors take: connections, bytes, time. `door` finds the
function for a path in `routes`. `visitors` finds out who somebody is, with the `passwords` of
accounts, and what he may see. `metrics` is for Prometheus, `readiness` for health checks. For
people, `history` and `lines` remember the last minutes, `snapshot` has the texts of a moment,
`page` makes HTML of it, and `stream` sends the next ones. ``files`` has what browsers load.
Rule: the room only reads, through `StorageServer.report` and its like. The one thing that it can do
is to disconnect a client.
"""

from __future__ import annotations

from .service import HTTPPlace, HTTPService, missing_package

__all__ = ["HTTPPlace", "HTTPService", "missing_package"]
