"""``zeotwisted postgresql``: prepares a database of RelStorage for several daemons.

It installs what has PostgreSQL tell of each commit, whoever made it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from zeotwisted.postgresql import (
    Database,
    NoTables,
    PostgreSQLError,
    check,
    check_writable,
    connect,
    examine,
    install,
    statements,
    undo,
    undo_statements,
)

from .errors import CommandError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Prepare a database of RelStorage on PostgreSQL for several daemons"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    setup = actions.add_parser(
        "setup", help="install the trigger that tells daemons of commits; shows the SQL first"
    )
    where = setup.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--dsn",
        help="the data source, as RelStorage has it: 'host=db dbname=zodb user=zodb'; a password "
        "is better kept in ~/.pgpass",
    )
    where.add_argument(
        "--config", metavar="PATH", help="the configuration of a server with a <relstorage> in it"
    )
    setup.add_argument(
        "--storage", metavar="NAME", help="which storage of the configuration, if it has several"
    )
    what = setup.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        action="store_true",
        help="change nothing; print what is missing, and exit with 1 if anything is",
    )
    what.add_argument("--undo", action="store_true", help="remove all that was installed")
    setup.add_argument("--yes", action="store_true", help="do not ask before the SQL is run")
    setup.set_defaults(action=_setup)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return the exit code.

    :raises CommandError: it cannot be done.
    """
    try:
        code: int = arguments.action(arguments)
    except PostgreSQLError as error:
        raise CommandError(str(error)) from None
    return code


def _setup(arguments: argparse.Namespace) -> int:
    if arguments.storage is not None and arguments.config is None:
        raise CommandError("--storage needs --config, the configuration that has the storage")
    dsn, section = arguments.dsn, None
    if arguments.config is not None:
        dsn, section = _configured(arguments.config, arguments.storage)
    with closing(connect(dsn)) as connection:
        try:
            database = examine(connection)
        except NoTables:
            if section is None or arguments.check or arguments.undo:
                raise
            # RelStorage makes them.
            section.open().close()
            database = examine(connection)
        if arguments.check:
            return _check(database)
        check_writable(database)
        if arguments.undo:
            return _undo(connection, database, arguments.yes)
        return _install(connection, database, arguments.yes)


def _check(database: Database) -> int:
    problems = check(database)
    for problem in problems:
        print(f"{database.identity.name}: {problem}")
    if not problems:
        print(f"{database.identity.name}: nothing is missing; commits are told")
    return 1 if problems else 0


def _install(connection: Connection[Any], database: Database, sure: bool) -> int:
    name = database.identity.name
    if _has_only_others_rights(database):
        raise CommandError(check(database)[0])
    if not check(database):
        print(f"{name}: nothing is missing; commits are told")
        return 0
    if not _agreed(statements(database), name, sure):
        return 1
    install(connection)
    print(f"{name}: installed; commits are told")
    return 0


def _has_only_others_rights(database: Database) -> bool:
    """Return whether all is installed, and only this role may not use it."""
    return database.table and not database.may_use_table and len(check(database)) == 1


def _undo(connection: Connection[Any], database: Database, sure: bool) -> int:
    name = database.identity.name
    print("-- Stop the daemons of this database before, or their clients cannot commit.")
    if not _agreed(undo_statements(database), name, sure):
        return 1
    undo(connection)
    print(f"{name}: removed")
    return 0


def _agreed(shown: list[str], name: str, sure: bool) -> bool:
    """Show the SQL; return whether it may be run."""
    for statement in ("BEGIN", *shown, "COMMIT"):
        print(f"{statement};")
    if sure:
        return True
    if not sys.stdin.isatty():
        raise CommandError(
            "there is no terminal to ask whether this may be run; use --yes, or give the SQL to "
            "psql"
        )
    if input(f"Run this in the database {name}? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("Nothing is changed.")
    return False


def _configured(path: str, name: str | None) -> tuple[str, Any]:
    """Return the data source of a storage in a configuration, and its section.

    :param name: None for the only one.
    """
    from zeotwisted.config import ConfigurationError, read_server_config

    try:
        storages = read_server_config(path).storages
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    sections = {storage.name: storage.section for storage in storages}
    found = {key: _data_source(section) for key, section in sections.items()}
    if name is not None and name not in found:
        raise CommandError(f"{path} has no storage {name}; it has {', '.join(sorted(found))}")
    chosen = {key: dsn for key, dsn in found.items() if dsn is not None and name in (None, key)}
    if not chosen:
        raise CommandError(
            f"{path}: {'the storage ' + name if name else 'no storage'} is "
            f"{'not ' if name else ''}a <relstorage> with <postgresql> in it; use --dsn"
        )
    if len(set(chosen.values())) > 1:
        raise CommandError(
            f"{path} has several databases on PostgreSQL; choose one with --storage: "
            f"{', '.join(sorted(chosen))}"
        )
    key, dsn = next(iter(chosen.items()))
    return dsn, sections[key]


def _data_source(section: Any) -> str | None:
    """Return the data source of a section, or of the one that it wraps; None if it has none."""
    config = getattr(section, "config", None)
    if config is None:
        return None
    adapter = getattr(getattr(config, "adapter", None), "config", None)
    if adapter is not None and adapter.getSectionType() == "postgresql":
        dsn: str = adapter.dsn
        return dsn
    return _data_source(getattr(config, "base", None))
