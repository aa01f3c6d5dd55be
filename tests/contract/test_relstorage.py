"""ZODB's storage tests with a RelStorage behind the daemon, which serves it by polling."""

from .case import cases

globals().update(cases("relstorage", __name__))
globals().update(cases("relstorage_without_history", __name__))
