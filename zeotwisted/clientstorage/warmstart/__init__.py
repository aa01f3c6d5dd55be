"""Begins an empty cache with what other clients use most: the client's part of warm starts.

`warmstart` does that for a storage, with a server that has the capability ``warm-start``. For each
connection, `bringing` asks which objects these are, and brings their records in until the cache is
full. `pace` says how many to ask for at a time, and when. `telling` tells the server from time to
time what of the cache is used, because the server does not see that. The server's part is
`zeotwisted.storageserver.popularity`.

Rules:

- What comes is in the cache before the next message is processed, by way of `Coherence`, as any
  answer to a load.
- It pushes out nothing: the cache takes it only while there is room. There it is on probation.
- The application goes first. Few records are asked for at a time, so that a load never waits for
  long behind them. While the application waits for the server, that takes at most half of the time,
  and a quarter at a server that is near.
- It never waits, and needs no thread: whoever reads an answer goes on with it.

Only `ClientStorage` knows of this package.
"""

from __future__ import annotations

from .warmstart import WarmStart, offers

__all__ = ["WarmStart", "offers"]
