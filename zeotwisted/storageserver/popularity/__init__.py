"""Which objects the clients of a group use most: the daemon's part of warm starts.

A client that begins with an empty cache asks for them and brings them in, see
`zeotwisted.clientstorage.warmstart`. A group is what a client names with the capability, or else
its label, so that clients without a label are one group.

`popularity` has the groups of a storage, and what it knows of each client. A `table` has a score
for each object of a group. An object gets more the earlier in a session it is loaded: each client
has a cache, loads what it uses often once, and loads it soon. What clients do now counts more than
what others did before. Objects that came ahead of need count when the client says that it has used
them, and so do objects that clients have in their caches and use.

Rules:

- A load waits for nothing: it adds a number in a table. The order is made in a thread.
- What is brought in does not count as a use. Otherwise what was once popular would stay so.
- All is bounded, whatever clients call themselves and load: the groups, and the objects of all of
  them together. A load of an object that is not known takes away from one that is in its place, so
  that one client that goes through the whole database pushes out little of what all use.
- It is forgotten when the daemon stops. Clients tell a new one what they use.

Nobody but `connections.popular`, which has the calls, the calls that load records, and the storage,
which makes it, knows of this package.
"""

from __future__ import annotations

from .popularity import Popularity

__all__ = ["Popularity"]
