"""Records that an answer to a load brings although nobody has asked for them: the client's part.

`ahead` loads records from a server that has the capability ``load-ahead``, puts what else comes
into the cache, and notes what of it is used. `worth` decides how much to ask for: from the time of
a round trip, from what was used of what came, and from the bytes. The server decides which records
they are, and learns from what this client says about their use; see
`zeotwisted.storageserver.speculation`.

Rules:

- What comes is in the cache before the next message is processed, by way of `Coherence`, as any
  answer to a load.
- It is on probation there: it pushes out nothing that was asked for twice.
- Where it does not pay, the client loads as ever, and tries again now and then.
"""

from __future__ import annotations

from .ahead import AheadLoads

__all__ = ["AheadLoads"]
