"""Who takes part: pairs of a client and a daemon."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTENDERS", "USUAL", "Contender", "Needs"]


class Needs:
    """What a measure may need, and not every contender has."""

    DAEMON = "a daemon"
    CACHE = "a cache"
    CACHE_FILE = "a cache file"
    PREFETCH = "prefetch"
    THREADS = "one storage for many threads"
    BLOBS = "blobs"
    DATABASE = "all that ZODB wants of a storage"
    #: It is about the daemon alone; two contenders with the same daemon would differ by chance.
    OWN_DAEMON = "a daemon that no other contender has"


@dataclass(frozen=True)
class Contender:
    """A client of one make against a daemon of one make.

    :ivar client: what `makes.open_client` knows.
    :ivar daemon: what `makes.start_daemon` knows; None if the client does it all by itself.
    :ivar lacks: of what a measure may need.
    """

    name: str
    client: str
    daemon: str | None
    lacks: frozenset[str] = frozenset()


_BARE = frozenset(
    {
        Needs.CACHE,
        Needs.CACHE_FILE,
        Needs.PREFETCH,
        Needs.THREADS,
        Needs.BLOBS,
        Needs.DATABASE,
        Needs.OWN_DAEMON,
    }
)

#: A thread has an instance of its own. There is no client that listens, and what a daemon is for
#: the others is a process for each client here.
_RELATIONAL = frozenset({Needs.CACHE_FILE, Needs.THREADS, Needs.BLOBS, Needs.OWN_DAEMON})

_NO_DAEMON = frozenset({Needs.OWN_DAEMON})

#: Daemons over one PostgreSQL.
_SCALED_OUT = frozenset({Needs.BLOBS})

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("zeo", client="zeo", daemon="zeo"),
        Contender("zeotwisted", client="zeotwisted", daemon="zeotwisted"),
        Contender("zeotwisted-read-ahead", "zeotwisted-read-ahead", "zeotwisted", _NO_DAEMON),
        Contender("zeotwisted-off", "zeotwisted-off", "zeotwisted", _NO_DAEMON),
        Contender("zeotwisted-zeo", "zeotwisted", "zeo", _NO_DAEMON),
        Contender("zeo-zeotwisted", "zeo", "zeotwisted", _NO_DAEMON),
        Contender("zeo-uvloop", client="zeo-uvloop", daemon="zeo-uvloop"),
        Contender("bare", "bare", "zeotwisted", _BARE),
        Contender("bare-zeo", "bare", "zeo", _BARE),
        Contender("file", "file", None, _BARE | {Needs.DAEMON}),
        Contender("relstorage", "relstorage", "postgres", _RELATIONAL),
        Contender("zeotwisted-postgres", "zeotwisted", "postgres-1", _SCALED_OUT),
        Contender("zeotwisted-2-postgres", "zeotwisted", "postgres-2", _SCALED_OUT),
    )
}

#: Who takes part if nobody is named. How one reads ahead shows in walks through a database only.
USUAL = [name for name in CONTENDERS if name not in ("zeotwisted-off", "zeotwisted-read-ahead")]
