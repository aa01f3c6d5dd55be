"""Records that an answer to a load brings although nobody has asked for them: the daemon's part.

Over a line, a cold application waits for round trips. Most of what it asks for next can be guessed
from the record that it asks for now: the records that this one refers to, and those that stand
behind it where it was found. The client says with each ``loadAhead`` how many records and bytes the
answer may bring, how probable their use has to be, and which of those that earlier answers brought
it has used since. It knows what a round trip costs; the daemon knows what the records say.

`speculation` has what the clients of a storage share (`common`), and a `guesses` for each client.
That follows the client through the database: which records it has used, which of their references
it has followed (`trail`), and what it was sent (`sent`). A `guess` collects the records for one
answer. `references` finds references without loading anything. `rates` has learned how often
references of each kind are followed: a kind is the class of the record, the class of what it refers
to, and the place. What a client does is learned for this client; all others begin with it.
`successors` remembers which record was used after which one, so that what one process does can be
foreseen for the next one. `changes` knows what has changed lately, and `allowance` limits the time.

The guesses are made depth first, in the order of the references, from the record that is wanted:
first what was used after it before, then what it refers to, then what follows it in the record in
which it was found, and so on outwards. That is the order in which most programs go through objects.
It is done for probable ones first, and then, if there is room, for the others.

Rules:

- A guess is as right as an answer. It is a current revision, taken in the same turn of the reactor
  in which the answer is written, so that every later invalidation follows it. A storage that
  needs threads is not asked: what is in the record cache has to do.
- A revision that the client was sent is not sent again. A false "it has it" costs a round trip.
- Others do not wait: guesses get a part of the reactor's time, and an answer some milliseconds.
- All is bounded: kinds, trails, what is remembered of a client, and the length of what is scanned.

Nobody but `connections.ahead`, `connections.popular`, which sends records in another way, and the
storage, which makes it, knows of this package.
"""

from __future__ import annotations

from .allowance import Allowance
from .speculation import MOST_CLIENTS, Speculation

__all__ = ["MOST_CLIENTS", "Allowance", "Speculation"]
