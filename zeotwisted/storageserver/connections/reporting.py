"""Reports of one client, for monitoring."""

from __future__ import annotations

from typing import NamedTuple

from ..figures import ConnectionReport, ConnectionState
from .connection import ServerConnection

__all__ = ["Flow", "connection_report"]


class Flow(NamedTuple):
    """What the protocol knows; see `figures.ConnectionReport`."""

    age: float
    idle: float
    under_way: int


def connection_report(
    number: int, client: ServerConnection, state: ConnectionState, flow: Flow
) -> ConnectionReport:
    """Return the report of a client."""
    name = client.label_fields
    served, transaction = client.registered, client.transaction
    return ConnectionReport(
        number=number,
        label=name.get("label", ""),
        user=name.get("user", ""),
        address=name.get("address", ""),
        version=state.protocol[1:],
        encoding=state.protocol[:1],
        storage_id=None if served is None else served.storage_id,
        read_only=client.read_only,
        age=flow.age,
        idle=flow.idle,
        queued=state.queued,
        lag=state.lag,
        silent=state.silent,
        under_way=flow.under_way,
        transaction=None if transaction is None or transaction.over else transaction.report(),
    )
