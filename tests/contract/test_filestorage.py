"""ZODB's storage tests with a FileStorage behind the daemon."""

from .case import cases

globals().update(cases("filestorage", __name__))
