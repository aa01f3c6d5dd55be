"""The statements that load records from RelStorage's tables, and what they return."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from twisted.internet.defer import Deferred
from ZODB.POSException import POSKeyError, StorageError

from .pipeline import Statement

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

__all__ = ["ENOUGH_BYTES", "Load", "LoadMany", "LoadOne", "Revision", "statements"]

Revision: TypeAlias = "tuple[bytes, bytes, bytes | None] | None"

#: An answer with several records is not longer than this, and one record.
ENOUGH_BYTES = 2**18

# The columns are the same ones with and without history: the serial and the data of the revision,
# the serial of the next one, and the object's current serial. An object that exists has a row. If
# it has no revision that is old enough, its first three columns are empty.

_ONE_WITH_HISTORY = """
SELECT found.tid, found.state, {next}, current.tid
FROM current_object AS current
LEFT JOIN LATERAL ({found}) AS found ON true
WHERE current.zoid = $1::bigint
"""

_ONE_WITHOUT_HISTORY = """
SELECT
    CASE WHEN tid < $2::bigint THEN tid END,
    CASE WHEN tid < $2::bigint THEN state END,
    NULL::bigint,
    tid
FROM object_state
WHERE zoid = $1::bigint
"""

_FOUND = """
    SELECT tid, state FROM object_state
    WHERE zoid = current.zoid AND tid < $2::bigint
    ORDER BY tid DESC LIMIT 1
"""

_NEXT = """
    CASE WHEN found.tid < current.tid THEN (
        SELECT tid FROM object_state AS later
        WHERE later.zoid = current.zoid AND later.tid > found.tid
        ORDER BY later.tid LIMIT 1
    ) END
"""

# The sizes are known without reading the data of the records, which are read for the rows that are
# left.
_MANY = """
SELECT tid, state, next, current
FROM (
    SELECT
        wanted.number, found.tid, found.state, {next} AS next, current.tid AS current,
        coalesce(octet_length(found.state), 0) AS size,
        sum(coalesce(octet_length(found.state), 0)) OVER (ORDER BY wanted.number) AS total
    FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (zoid, number)
    LEFT JOIN {current} AS current ON current.zoid = wanted.zoid
    LEFT JOIN LATERAL ({found}) AS found ON true
) AS rows
WHERE number = 1 OR (size <= {enough} AND total - size < {enough})
ORDER BY number
"""

_FOUND_WITHOUT_HISTORY = "SELECT current.tid, current.state WHERE current.tid < $2::bigint"


def statements(keep_history: bool) -> Sequence[Statement]:
    """Return the statements to prepare."""
    if keep_history:
        one = _ONE_WITH_HISTORY.format(next=_NEXT, found=_FOUND)
        many = _MANY.format(next=_NEXT, found=_FOUND, current="current_object", enough=ENOUGH_BYTES)
    else:
        one = _ONE_WITHOUT_HISTORY
        many = _MANY.format(
            next="NULL::bigint",
            found=_FOUND_WITHOUT_HISTORY,
            current="object_state",
            enough=ENOUGH_BYTES,
        )
    return ((LoadOne.statement, one.encode()), (LoadMany.statement, many.encode()))


class Load:
    """A load that is waiting or under way.

    :ivar done: gets the result.
    :ivar until: when it fails if the database cannot be reached; None if it can be.
    """

    __slots__ = ("done", "parameters", "until")
    statement: ClassVar[bytes]

    def __init__(self, *parameters: bytes) -> None:
        self.done: Deferred[Any] = Deferred()
        self.parameters = parameters
        self.until: float | None = None

    def answered(self, result: PGresult) -> None:
        raise NotImplementedError

    def refused(self, reason: str) -> None:
        self.fail(StorageError(f"PostgreSQL cannot load: {reason}"))

    def fail(self, error: Exception) -> None:
        self.done.errback(error)


class LoadOne(Load):
    """The load of one revision. A `bigint` is sent as its eight bytes, as an oid and a tid are."""

    __slots__ = ()
    statement = b"load_one"

    def answered(self, result: PGresult) -> None:
        value = result.get_value
        if not result.ntuples:
            self.fail(POSKeyError(self.parameters[0]))
            return
        serial = value(0, 0)
        if serial is None:
            self.done.callback(None)
            return
        data = value(0, 1)
        if data:
            self.done.callback((data, serial, value(0, 2)))
        else:
            self.fail(POSKeyError(self.parameters[0]))


_ARRAY = Struct("!iiIii").pack
_BIGINT = 20


class LoadMany(Load):
    """The load of a revision of each of some objects."""

    __slots__ = ()
    statement = b"load_many"

    def __init__(self, oids: Sequence[bytes], tid: bytes) -> None:
        # One dimension, no NULL, the type, the number and the index of the first element. Each
        # element follows its length.
        head = _ARRAY(1, 0, _BIGINT, len(oids), 1)
        super().__init__(b"\0\0\0\x08".join((head, *oids)), tid)

    def answered(self, result: PGresult) -> None:
        value = result.get_value
        answer: list[Revision | bool] = []
        for row in range(result.ntuples):
            serial = value(row, 0)
            if serial is not None:
                data = value(row, 1)
                answer.append((data, serial, value(row, 2)) if data else False)
            else:
                answer.append(False if value(row, 3) is None else None)
        self.done.callback(answer)
