"""The calls by which operators see who uses a storage, and disconnect a client.

They are about the storage for which the operator has registered, and its clients, because his role
is.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from ..figures import ConnectionReport, Turn
from ..floods import brief
from .connection import ServerConnection

_log = Logger()

#: How many clients one answer has.
_MOST = 1000


def remote_server_clients(client: ServerConnection) -> dict[str, Any]:
    assert client.others is not None
    served = client.served
    reports = client.others.reports(_MOST, served.storage_id)
    return {"total": served.connections, "clients": tuple(map(_described, reports))}


def _described(report: ConnectionReport) -> dict[str, Any]:
    transaction = report.transaction
    return report._asdict() | {
        "transaction": None if transaction is None else transaction._asdict()
    }


def remote_server_locks(client: ServerConnection) -> dict[str, Any]:
    lock = client.served.lock.report()
    return {
        "holders": tuple(map(Turn._asdict, lock.holders)),
        "waiting": tuple(map(Turn._asdict, lock.waiting[:_MOST])),
        "waiting_total": len(lock.waiting),
    }


def remote_disconnect_client(
    client: ServerConnection, number: int, reason: str
) -> dict[str, Any] | None:
    assert client.others is not None
    found = client.others.report_of(number)
    if found is None or found.storage_id != client.served.storage_id:
        return None
    why = brief(reason) or "no reason is given"
    _log.info("({label}) disconnects another client: {reason}", label=client.label, reason=why)
    gone = client.others.disconnect(number, f"an operator has disconnected it: {why}")
    return None if gone is None else _described(gone)
