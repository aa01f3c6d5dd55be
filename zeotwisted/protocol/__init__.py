"""The wire: bytes in, messages out.

Nothing here does I/O, reads a clock or knows Twisted. ``docs/protocol.rst`` is the
specification of what this package implements.
"""
