"""What we install in a database, once for each: a small table, a function and its triggers.

The triggers say what was committed (``NOTIFY zeotwisted``, see `notices`), and note under which
tid the transaction with a certain mark was. RelStorage works as before: without daemons, and
without us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .connecting import driver, one_line
from .errors import PostgreSQLError
from .schema import FUNCTION, TABLE, Database, examine, qualified, quoted

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["VERSION", "check", "check_writable", "install", "statements", "undo", "undo_statements"]

#: Of what is installed: a higher number for each change of the statements.
VERSION = "2"

#: How long to wait for writers and packs, who exclude a new trigger. While we wait, they wait for
#: us.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"

_TABLE = """\
CREATE TABLE IF NOT EXISTS {table} (
    mark bigint PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tid bigint,
    made timestamptz NOT NULL DEFAULT now()
)"""

# A role that may write objects need not have a right to our table: the function has its owner's.
_FUNCTION = """\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $zeotwisted${body}$zeotwisted$"""

# A marked transaction that has its tid before it has its mark (undo, restore) writes both at once.
_BODY = """
DECLARE
    new_tid bigint;
    new_mark bigint;
    previous bigint;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {table};
    ELSE
        new_tid := {tid};
        UPDATE {table} SET tid = new_tid
        WHERE xid = pg_current_xact_id() AND tid IS NULL RETURNING mark INTO new_mark;
        {previous}
    END IF;
    PERFORM pg_notify('zeotwisted', CASE WHEN new_tid IS NULL THEN '' ELSE
        concat(previous, ' ', new_tid, ' ', new_mark) END);
    RETURN NULL;
END
"""

# Committers have a lock until the end of their transaction, so that no other one comes in between.
_PREVIOUS = "SELECT max(tid) INTO previous FROM {watched} WHERE tid < new_tid;"

_NEW_TID = "NEW.tid"

# Committers have a lock, so that the last tid is that of this transaction, if it stored anything.
_LAST_TID = """(
            SELECT CASE WHEN last.made_by = pg_current_xact_id()::xid THEN last.tid END
            FROM (
                SELECT xmin AS made_by, tid FROM {objects} ORDER BY tid DESC LIMIT 1
            ) AS last
        )"""


def _parts(database: Database) -> dict[str, str]:
    """Return the names, quoted and with their schema, and the body of the function."""
    table = qualified(database.schema, TABLE)
    objects = qualified(database.schema, "object_state")
    tid = _NEW_TID if database.keep_history else _LAST_TID.format(objects=objects)
    watched = qualified(database.schema, "transaction") if database.keep_history else objects
    previous = _PREVIOUS.format(watched=watched) if database.keep_history else ""
    return {
        "table": table,
        "function": qualified(database.schema, FUNCTION),
        "watched": watched,
        "body": _BODY.format(table=table, tid=tid, previous=previous),
    }


def _triggers(database: Database) -> dict[str, str]:
    """Return the statement that makes each trigger, by its name."""
    parts = _parts(database)
    # An INSERT with ON CONFLICT, which is all that RelStorage does, counts as an INSERT, whatever
    # it does with the rows. Nobody else writes objects without a history with UPDATE alone.
    each = "ROW" if database.keep_history else "STATEMENT"
    events = {FUNCTION: ("INSERT", each), f"{FUNCTION}_truncate": ("TRUNCATE", "STATEMENT")}
    return {
        name: f"CREATE TRIGGER {name} AFTER {event} ON {parts['watched']} "
        f"FOR EACH {each} EXECUTE FUNCTION {parts['function']}()"
        for name, (event, each) in events.items()
    }


def statements(database: Database) -> list[str]:
    """Return the SQL that installs what is missing, or brings it to this version; [] if nothing is.

    They are for one SQL transaction, and change nothing of RelStorage's.
    """
    missing = check(database)
    if not missing:
        return []
    parts = _parts(database)
    made = [_LOCK_TIMEOUT, _TABLE.format_map(parts)]
    # By which it is found: at commit, by the news, and when it is old.
    for column, how in (("xid", "btree (xid)"), ("tid", "btree (tid)"), ("made", "brin (made)")):
        made.append(f"CREATE INDEX IF NOT EXISTS {TABLE}_{column} ON {parts['table']} USING {how}")
    made.append(_FUNCTION.format_map(parts))
    made.append(f"COMMENT ON FUNCTION {parts['function']}() IS 'zeotwisted {VERSION}'")
    if database.role != database.owner:
        owner = quoted(database.owner)
        made.append(f"ALTER TABLE {parts['table']} OWNER TO {owner}")
        made.append(f"ALTER FUNCTION {parts['function']}() OWNER TO {owner}")
    for name, statement in _triggers(database).items():
        if name not in database.triggers or database.version != VERSION:
            made.append(f"DROP TRIGGER IF EXISTS {name} ON {parts['watched']}")
            made.append(statement)
    return made


def undo_statements(database: Database) -> list[str]:
    """Return the SQL that removes all that we install, for one SQL transaction."""
    parts = _parts(database)
    removed = [_LOCK_TIMEOUT]
    removed += [
        f"DROP TRIGGER IF EXISTS {name} ON {parts['watched']}" for name in _triggers(database)
    ]
    removed.append(f"DROP FUNCTION IF EXISTS {parts['function']}()")
    removed.append(f"DROP TABLE IF EXISTS {parts['table']}")
    return removed


def check(database: Database) -> list[str]:
    """Return what is missing or wrong, one line for each; [] if commits tell their news."""
    problems = []
    if not database.table:
        problems.append(f"the table {TABLE} is missing")
    elif not database.may_use_table:
        problems.append(
            f"the role {database.role} may not use the table {TABLE}; use the role "
            f"{database.owner}, or GRANT SELECT, INSERT, DELETE ON {TABLE} TO {database.role}"
        )
    if not database.function:
        problems.append(f"the function {FUNCTION} is missing")
    elif database.version != VERSION or database.function != _parts(database)["body"]:
        problems.append(
            f"the function {FUNCTION} is that of version {database.version}, not {VERSION}"
        )
    problems += [
        f"the trigger {name} is missing, or disabled"
        for name in _triggers(database)
        if name not in database.triggers
    ]
    return problems


def install(connection: Connection[Any]) -> list[str]:
    """Install what is missing, in one SQL transaction; return the statements.

    :raises PostgreSQLError: it cannot be installed; nothing is changed.
    """
    database = examine(connection)
    check_writable(database)
    wanted = statements(database)
    _execute(connection, wanted, database)
    left = check(examine(connection))
    if left:
        raise PostgreSQLError(f"after the installation {left[0]}")
    return wanted


def undo(connection: Connection[Any]) -> list[str]:
    """Remove what is installed, in one SQL transaction; return the statements.

    :raises PostgreSQLError: it cannot be removed; nothing is changed.
    """
    database = examine(connection)
    check_writable(database)
    wanted = undo_statements(database)
    _execute(connection, wanted, database)
    return wanted


def check_writable(database: Database) -> None:
    """Check that something can be installed in it.

    :raises PostgreSQLError: it is a standby.
    """
    if database.in_recovery:
        raise PostgreSQLError(
            "this is a standby, which cannot be changed; use the data source of the primary server"
        )


def _execute(connection: Connection[Any], wanted: list[str], database: Database) -> None:
    errors = driver().errors
    try:
        with connection.transaction():
            for statement in wanted:
                connection.execute(statement)
    except errors.InsufficientPrivilege as error:
        raise PostgreSQLError(
            f"the role {database.role} has no right to do that ({one_line(error)}); use the role "
            f"{database.owner}, which owns the tables, or a superuser"
        ) from None
    except errors.LockNotAvailable:
        raise PostgreSQLError(
            "a pack or another transaction has the tables for more than 10 seconds; try again later"
        ) from None
    except errors.Error as error:
        raise PostgreSQLError(f"PostgreSQL refuses: {one_line(error)}; look into its log") from None
