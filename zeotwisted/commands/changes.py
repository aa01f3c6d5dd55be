"""``zeotwisted changes``: prints every transaction of a storage, and follows it."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from typing import TYPE_CHECKING, Any

from .connected import connected
from .errors import CommandError
from .target import add_connection, add_login, target

if TYPE_CHECKING:
    from zeotwisted.clientstorage import ChangedTransaction

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Print every transaction of a storage, once, in order, and wait for more"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)
    parser.add_argument(
        "--since",
        metavar="TID",
        default="0" * 16,
        help="begin after this transaction, in hexadecimal digits as they are printed "
        "[default: at the first one]",
    )
    parser.add_argument("--records", action="store_true", help="print the objects' records, too")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each")
    parser.add_argument("--once", action="store_true", help="end at the last transaction")
    parser.add_argument(
        "--accept-gaps",
        action="store_true",
        help="go on if a pack has removed the transaction at the position",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the transactions; return the exit code."""
    # Imported late: other commands need no Twisted.
    from ZODB.POSException import StorageError

    from zeotwisted.exceptions import NotInHistory

    since = _tid(arguments.since)
    where = target(arguments)
    show = _print_json if arguments.json else _print_text
    try:
        with connected(where) as client:
            feed = client.changes(
                since, arguments.records, once=arguments.once, accept_gaps=arguments.accept_gaps
            )
            # The next one is asked for when this one is printed, so that a slow reader of the
            # output slows down the feed.
            while (transaction := client.wait(feed.next)) is not None:
                show(transaction)
                sys.stdout.flush()
    except NotInHistory as error:
        remedy = "add --accept-gaps to go on" if error.packed else "begin without --since"
        raise CommandError(f"{arguments.address}: {error}; {remedy}") from None
    except (StorageError, OSError, ValueError) as error:
        raise CommandError(f"{arguments.address}: {error}") from None
    return 0


def _tid(text: str) -> bytes:
    try:
        tid = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        tid = b""
    if len(tid) != 8:
        raise CommandError(f"--since {text}: write the 16 hexadecimal digits of a transaction id")
    return tid


def _time(tid: bytes) -> str:
    from ZODB.TimeStamp import TimeStamp

    return str(TimeStamp(tid))[:23].replace(" ", "T") + "Z"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _print_json(transaction: ChangedTransaction) -> None:
    values: dict[str, Any] = {
        "tid": transaction.tid.hex(),
        "time": _time(transaction.tid),
        "user": _text(transaction.user),
        "description": _text(transaction.description),
        # It is a pickle of the application's, which is not loaded here.
        "extension": _base64(transaction.stored_extension),
        "packed": transaction.is_packed,
        "oids": [oid.hex() for oid in transaction.oids],
    }
    if transaction.records is not None:
        values["records"] = [
            {
                "oid": record.oid.hex(),
                "data": None if record.data is None else _base64(record.data),
                "data_tid": None if record.data_txn is None else record.data_txn.hex(),
                "blob": record.has_blob,
            }
            for record in transaction.records
        ]
    print(json.dumps(values))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _print_text(transaction: ChangedTransaction) -> None:
    packed = " packed" if transaction.is_packed else ""
    print(
        f"{transaction.tid.hex()} {_time(transaction.tid)} {len(transaction.oids)} objects{packed} "
        f"user={_text(transaction.user)!r} description={_text(transaction.description)!r}"
    )
    for record in transaction.records or ():
        size = "deleted" if record.data is None else f"{len(record.data)} bytes"
        print(f"  {record.oid.hex()} {size}{' blob' if record.has_blob else ''}")
