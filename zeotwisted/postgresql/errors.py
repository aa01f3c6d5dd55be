"""What can go wrong with a database; each text is one line with the reason and the remedy."""

from __future__ import annotations

__all__ = [
    "Deaf",
    "DriverMissing",
    "InDoubt",
    "NoTables",
    "NotInstalled",
    "Pooled",
    "PostgreSQLError",
    "Unreachable",
]
__all__ += ["WrongSchema"]


class PostgreSQLError(Exception):
    """The database cannot be used as it is meant to be."""


class DriverMissing(PostgreSQLError):
    """The package that talks to PostgreSQL is not installed."""


class Unreachable(PostgreSQLError):
    """There is no connection to the database, or no longer; it may be there later."""


class WrongSchema(PostgreSQLError):
    """The database has no tables of RelStorage, or not those that we know."""


class NotInstalled(PostgreSQLError):
    """What `setup` installs is not there."""


class NoTables(WrongSchema):
    """The database has no tables of RelStorage."""


class Deaf(PostgreSQLError):
    """Notifications of commits do not arrive."""


class Pooled(PostgreSQLError):
    """Each transaction may get another connection, and RelStorage needs one for several."""


class InDoubt(PostgreSQLError):
    """It cannot be told yet whether a transaction is committed; asking later may tell."""
