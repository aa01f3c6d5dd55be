"""All limits of a server that its clients share, made from its settings."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime

from ..options import ServerOptions
from .budget import Budget, Usage
from .connections import Admission
from .descriptors import allot, descriptor_limit
from .iterators import IteratorLimits
from .shares import Shares
from .transactions import DiskReserve, TransactionLimits
from .trimming import Trimmer

__all__ = ["Limits"]


class Limits:
    """What all clients of one server may have together.

    :param available: how many file descriptors the process may have; None to ask the system.
    :ivar admission: which connections are let in.
    :ivar messages: the bytes of messages that have not arrived completely.
    :ivar unsent: the bytes that clients have not taken from the server.
    :ivar transactions: what transactions and blobs take before they are voted.
    :ivar iterators: how many iterators clients may have.
    :ivar downloads: the files of blobs that are read.
    :ivar calls: the calls under way.
    :ivar trimmer: gives memory back to the system when clients have gone that held much.
    """

    def __init__(
        self, options: ServerOptions, clock: IReactorTime, available: int | None = None
    ) -> None:
        share = allot(descriptor_limit() if available is None else available)
        self._budgets: dict[str, Budget] = {}
        most = options.connection_limit or share.connections
        self.admission = Admission(
            clock,
            self._budget("connection-limit", most),
            self._budget("unregistered-limit", options.unregistered_limit or max(1, most // 2)),
            self._budget("address-limit", options.address_limit or max(1, most // 2)),
        )
        # A message of the greatest length must fit.
        memory = max(options.message_memory, options.message_limit)
        self.messages: Shares[Any] = Shares(self._budget("message-memory", memory))
        self.unsent: Shares[Any] = Shares(self._budget("send-memory", options.send_memory))

        self.transactions = TransactionLimits(
            memory=self._budget("spool-memory", options.spool_memory),
            disk=self._budget("spool-limit", options.spool_limit),
            files=self._budget("file-limit", options.file_limit or share.files),
            size=self._budget("transaction-limit", options.transaction_limit),
            operations=self._budget("operation-limit", options.operation_limit),
            reserve=DiskReserve(self._budget("disk-reserve", options.disk_reserve)),
        )

        self.iterators = IteratorLimits(
            self._budget("iterator-files", options.iterator_files or share.iterators),
            self._budget("iterator-limit", options.iterator_limit),
        )

        self.downloads = self._budget("download-files", options.download_files or share.downloads)
        self.trimmer = Trimmer(clock)
        self.calls = self._budget("call-total", options.call_total)

    def _budget(self, key: str, most: int) -> Budget:
        budget = self._budgets[key] = Budget(key, most)
        return budget

    def report(self) -> dict[str, Usage]:
        """Return the state of each limit, by its key in the configuration."""
        self.admission.count_addresses()
        return {key: budget.usage() for key, budget in self._budgets.items()}
