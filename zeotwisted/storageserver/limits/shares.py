"""Memory that many clients fill together: the one that holds the most gives way."""

from __future__ import annotations

from collections import defaultdict
from typing import Generic, Protocol, TypeVar

from .budget import Budget

__all__ = ["Holder", "Shares"]


class Holder(Protocol):
    """A client that holds memory."""

    @property
    def host(self) -> str:
        """The address that the client comes from, without the port."""


_H = TypeVar("_H", bound=Holder)


class Shares(Generic[_H]):
    """The bytes that each client holds. Use it in the reactor's thread only.

    If all of them hold too much, the address that holds the most has to give way, and of its
    clients the one that holds the most. So a client that holds little is safe, whatever others do.

    :param budget: counts the bytes of all.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._held: dict[_H, int] = {}

    def hold(self, holder: _H, amount: int) -> _H | None:
        """Set how many bytes a client holds. Return the client that has to give way, or None."""
        before = self._held.get(holder, 0)
        if amount == before:
            return None
        if amount:
            self._held[holder] = amount
        else:
            del self._held[holder]
        self.budget.add(amount - before)
        if amount < before or self.budget.fits(0):
            return None
        self.budget.strike()
        return self._greediest()

    def _greediest(self) -> _H:
        of_hosts: defaultdict[str, int] = defaultdict(int)
        for holder, amount in self._held.items():
            of_hosts[holder.host] += amount
        greediest = max(of_hosts, key=of_hosts.__getitem__)
        return max(
            (holder for holder in self._held if holder.host == greediest),
            key=self._held.__getitem__,
        )
