"""ZODB's storage tests with a DemoStorage behind the daemon, its changes in memory or in a file."""

from .case import cases

globals().update(cases("demostorage", __name__))
globals().update(cases("demostorage_on_file", __name__))
