"""ZODB's storage tests with another storage that has views of its own, which has no blobs."""

from .case import cases

globals().update(cases("mvccmappingstorage", __name__))
