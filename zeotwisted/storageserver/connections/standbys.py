"""The calls of standbys, and of those who promote one."""

from __future__ import annotations

from typing import Any

from .connection import ServerConnection


def remote_standby_has(client: ServerConnection, tid: bytes) -> None:
    client.served.followers.acknowledged(client, tid)


def remote_promote(client: ServerConnection) -> Any:
    return client.served.promote()
