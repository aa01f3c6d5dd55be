"""What a database is, and what it has of RelStorage and of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .connecting import lost_connection
from .errors import NoTables, WrongSchema

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["FUNCTION", "TABLE", "Database", "Identity", "examine", "qualified", "quoted"]

#: The names of what we install. RelStorage knows none of them, and leaves them alone.
TABLE = "zeotwisted_commit"
FUNCTION = "zeotwisted_news"

#: ``xid8`` is new in it.
_OLDEST = 130000

#: The columns that we use; those of numbers have to be bigint.
_COLUMNS = {"object_state": {"zoid", "tid", "state", "state_size"}}
_HISTORY_COLUMNS = {
    "object_state": {"zoid", "tid", "prev_tid", "state", "state_size"},
    "current_object": {"zoid", "tid"},
    "transaction": {"tid", "packed", "username", "description", "extension"},
}
_NUMBERS = {"zoid", "tid", "prev_tid"}


@dataclass(frozen=True)
class Identity:
    """What tells databases apart.

    Two connections with equal identities reach the same data, or a copy of them that is made by
    replication. After a standby was promoted, or an older state was restored, the timeline is
    another one.
    """

    #: The cluster's number, given when it was made; None if the role may not ask for it.
    system: int | None
    #: The database in the cluster: its number and its name.
    oid: int
    name: str

    def __str__(self) -> str:
        """Return a text that no other database has, as far as the role may know."""
        return f"{'unknown' if self.system is None else self.system}/{self.oid}/{self.name}"


@dataclass(frozen=True)
class Database:
    """A database with tables of RelStorage."""

    identity: Identity
    #: The number of promotions and of restores to an earlier time; None if it is not known.
    timeline: int | None
    #: The schema that has the tables.
    schema: str
    #: The role that owns them, and the one that asks.
    owner: str
    role: str
    #: Whether older revisions are kept: whether there is a table of transactions.
    keep_history: bool
    #: Whether this is a standby, which takes no commits and tells no news.
    in_recovery: bool
    #: The version of what we installed, as its comment says; None if it is not installed.
    version: str | None
    #: The body of the function that we installed, for a comparison; "" if there is none.
    function: str
    #: Which of our triggers are there and enabled: the definition of each by its name.
    triggers: dict[str, str]
    #: Whether our table is there, and whether this role may do with it what a daemon does.
    table: bool
    may_use_table: bool


_SERVER = """
SELECT current_setting('server_version_num')::integer,
       current_setting('server_version'),
       pg_is_in_recovery(),
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
       current_database(),
       current_user::text,
       has_function_privilege('pg_control_system()', 'EXECUTE'),
       has_function_privilege('pg_control_checkpoint()', 'EXECUTE')
"""

# The checkpoint has the new timeline some seconds after a promotion; where it is written, the log
# of the database has it at once.
_WRITTEN_TIMELINE = """
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
"""

_TABLES = """
SELECT c.relname::text, n.nspname::text, pg_get_userbyid(c.relowner)::text, a.attname::text,
       format_type(a.atttypid, NULL)
FROM pg_class o
JOIN pg_namespace n ON n.oid = o.relnamespace
JOIN pg_class c ON c.relnamespace = n.oid
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE o.oid = to_regclass('object_state') AND a.attnum > 0 AND NOT a.attisdropped
AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s)
"""

_OURS = """
SELECT (SELECT split_part(obj_description(p.oid, 'pg_proc'), ' ', 2)),
       p.prosrc
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %s AND p.proname = %s
"""

_TRIGGERS = """
SELECT t.tgname::text, pg_get_triggerdef(t.oid)
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE n.nspname = %s AND p.proname = %s AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
"""

_TABLE_RIGHTS = """
SELECT bool_and(has_table_privilege(%s, wanted))
FROM unnest('{SELECT,INSERT,DELETE}'::text[]) AS wanted
"""


def examine(connection: Connection[Any]) -> Database:
    """Return what the database is and has.

    :raises WrongSchema: it is not one that we can serve.
    :raises Unreachable: the connection is lost.
    """
    with lost_connection():
        return _examine(connection)


def _examine(connection: Connection[Any]) -> Database:
    number, version, in_recovery, oid, name, role, may_system, may_checkpoint = _row(
        connection, _SERVER
    )
    if number < _OLDEST:
        raise WrongSchema(f"PostgreSQL {version} is too old; version 13 or newer is needed")
    system = timeline = None
    if may_system:
        (system,) = _row(connection, "SELECT system_identifier FROM pg_control_system()")
    if not in_recovery:
        (timeline,) = _row(connection, _WRITTEN_TIMELINE)
    elif may_checkpoint:
        (timeline,) = _row(connection, "SELECT timeline_id FROM pg_control_checkpoint()")
    schema, owner, tables = _tables(connection, name)
    ours = connection.execute(_OURS, (schema, FUNCTION)).fetchone() or (None, "")
    may_use_table = False
    if TABLE in tables:
        (may_use_table,) = _row(connection, _TABLE_RIGHTS, (qualified(schema, TABLE),))
    return Database(
        identity=Identity(system, oid, name),
        timeline=timeline,
        schema=schema,
        owner=owner,
        role=role,
        keep_history="transaction" in tables,
        in_recovery=in_recovery,
        version=ours[0] or None,
        function=ours[1],
        triggers=dict(connection.execute(_TRIGGERS, (schema, FUNCTION)).fetchall()),
        table=TABLE in tables,
        may_use_table=may_use_table,
    )


def _tables(connection: Connection[Any], name: str) -> tuple[str, str, dict[str, dict[str, str]]]:
    """Return the schema of RelStorage's tables, their owner, and the types of all columns."""
    names = [*_HISTORY_COLUMNS, TABLE]
    tables: dict[str, dict[str, str]] = {}
    schema = owner = ""
    for table, schema_, owner_, column, kind in connection.execute(_TABLES, (names,)):
        tables.setdefault(table, {})[column] = kind
        schema = schema_
        owner = owner_ if table == "object_state" else owner
    if not tables:
        raise NoTables(
            f"the database {name} has no tables of RelStorage; open it once with RelStorage, which "
            "makes them, or correct the data source; setup with --config does that"
        )
    wanted = _HISTORY_COLUMNS if "transaction" in tables else _COLUMNS
    for table, columns in wanted.items():
        for column in sorted(columns):
            kind = tables.get(table, {}).get(column)
            if kind is None or (column in _NUMBERS and kind != "bigint"):
                raise WrongSchema(
                    f"the database {name} has the schema of another RelStorage version ("
                    f"{table}.{column} is {kind or 'missing'}); upgrade it with RelStorage 4"
                )
    return schema, owner, tables


def qualified(schema: str, name: str) -> str:
    """Return a name with its schema, as SQL has it."""
    return f"{quoted(schema)}.{quoted(name)}"


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _row(connection: Connection[Any], query: str, arguments: tuple[Any, ...] = ()) -> Any:
    row = connection.execute(query, arguments).fetchone()
    assert row is not None
    return row
