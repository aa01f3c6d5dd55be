"""``zeotwisted health``: asks a server whether it serves, as containers and monitors do.

It sends ``ruok``, which needs no account and takes no part in limits of storages.
"""

from __future__ import annotations

import argparse

from .ruok import asked
from .target import add_connection, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Ask a server whether it serves; exit with 0 if it does"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    parser.set_defaults(timeout=5.0)


def run(arguments: argparse.Namespace) -> int:
    """Ask; print one line; return the exit code."""
    where = target(arguments)
    if where.tls is not None and where.server_name is None:
        # The certificate of a server need not have the name by which a probe calls it.
        where.tls.check_hostname = False
    storages = asked(where).storages
    shown = (f"{name} ({state.get('connections')} clients)" for name, state in storages.items())
    print(f"{where.text} serves {', '.join(shown)}")
    return 0
