"""ZODB's storage tests with a MappingStorage behind the daemon."""

from .case import cases

globals().update(cases("mappingstorage", __name__))
