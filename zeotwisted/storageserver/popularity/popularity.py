"""What the clients of a storage use, by groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import repeat
from time import perf_counter
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from zeotwisted.protocol import WARM_START, Capabilities, numbers, split

from ..turns import Turns
from .table import MOST_SLOTS, Budget, Table, ranked

__all__ = ["Popularity"]

#: How many groups there are, and how many slots their tables have together.
_MOST_GROUPS = 16
_MOST_SLOTS = 4 * MOST_SLOTS

#: How many characters of a group's name count.
_LONGEST = 100

#: The n-th load of a session counts 1 / (n + _EARLY). What a client says that it has in its cache
#: and uses counts 1 / _WARM, and no load of a client whose cache is in use counts more.
_EARLY = 128
_WARM = 1024

#: The loads of a session count so many times as much as those of the one before it, from the n-th
#: on. After this time (seconds), a session counts as another one whose cache is in use.
_NEWER = 1.1
_BEGUN = 64
_LONG = 3600.0

#: How many loads of a client are counted together.
_TOGETHER = 64

#: When one counts as much as this, all scores are divided by it.
_HEAVY = 1e20

#: Fewer objects are not worth it: they come as fast when they are asked for.
FEW = 50

#: For so many times of what it took to make the order of a group it is used again.
_LASTING = 20


class Client(Protocol):
    """What is to be known of a client."""

    @property
    def label_fields(self) -> Mapping[str, str]:
        """The parts of its label; see `clientlabel`."""

    capabilities: Capabilities


class Group:
    """What the clients of a group use.

    :ivar weight: how much the load of a session counts that begins now.
    :ivar members: how many clients it has now.
    :ivar order: the joined oids, those first that are used most.
    :ivar good_until: how long the order may be used.
    """

    def __init__(self, budget: Budget) -> None:
        self.table = Table(budget)
        self.weight = 1.0
        self.members = 0
        self.turns = Turns()
        self.order = b""
        self.good_until = 0.0

    def advance(self) -> None:
        """Let what comes now count more than what was before."""
        self.weight *= _NEWER
        if self.weight > _HEAVY:
            self.table.shrink(self.weight)
            self.weight = 1.0


class _Member:
    """What is known of a client.

    :ivar group: None if there are too many groups.
    :ivar fresh: what it has loaded and is not counted yet.
    :ivar loads: how many objects it has loaded since `since`, or was told of, and some more.
    """

    __slots__ = ("fresh", "group", "loads", "since")

    def __init__(self, group: Group | None, since: float) -> None:
        self.group = group
        self.fresh: list[bytes] = []
        self.loads = _EARLY
        self.since = since


class Popularity:
    """What the clients of one storage use. Use it in the reactor's thread.

    :param seconds: returns the time in seconds.
    """

    def __init__(self, seconds: Callable[[], float] = perf_counter) -> None:
        self._seconds = seconds
        self._budget = Budget(_MOST_SLOTS)
        # The one that a client has joined last is the last.
        self._groups: dict[str, Group] = {}
        self._members: dict[object, _Member] = {}

    def __len__(self) -> int:
        """How many clients are followed."""
        return len(self._members)

    def loaded(self, client: Client, oid: bytes) -> None:
        """Note that a client loads an object that it has asked for."""
        member = self._members.get(client) or self._join(client)
        member.fresh.append(oid)
        # Several together take half of the time.
        if len(member.fresh) >= _TOGETHER:
            self._count(member)

    def used(self, client: Client, oids: bytes) -> None:
        """Note that a client has used objects that came ahead of need: joined oids."""
        member = self._members.get(client) or self._join(client)
        member.fresh += split(oids)
        if len(member.fresh) >= _TOGETHER:
            self._count(member)

    def in_use(self, client: Client, oids: bytes) -> None:
        """Note that a client has objects in its cache and uses them: joined oids."""
        member = self._members.get(client) or self._join(client)
        member.loads = max(member.loads, _WARM)
        group = member.group
        if group is not None:
            group.table.add(numbers(oids), repeat(group.weight / _WARM))

    def _count(self, member: _Member) -> None:
        """Count what a client has loaded since this was called last."""
        fresh, member.fresh = member.fresh, []
        group = member.group
        if group is None or not fresh:
            return
        begin = member.loads
        now = self._seconds()
        if now - member.since > _LONG:
            member.since = now
            begin = _WARM
            group.advance()
        end = member.loads = begin + len(fresh)
        if begin < _EARLY + _BEGUN <= end:
            group.advance()
        weight = group.weight
        scores = [weight / number for number in range(begin, end)]
        group.table.add(numbers(b"".join(fresh)), scores)

    def _join(self, client: Client) -> _Member:
        group = self._group(_name(client))
        if group is not None:
            group.members += 1
        member = self._members[client] = _Member(group, self._seconds())
        return member

    def _group(self, name: str) -> Group | None:
        group = self._groups.pop(name, None)
        if group is None:
            if len(self._groups) >= _MOST_GROUPS and not self._forget_one():
                return None
            group = Group(self._budget)
        self._groups[name] = group
        return group

    def _forget_one(self) -> bool:
        """Forget a group without clients; return whether there was one."""
        for name, group in self._groups.items():
            if not group.members:
                group.table.give_back()
                del self._groups[name]
                return True
        return False

    def leave(self, client: object) -> None:
        """Forget a client that is gone, but not what it has used."""
        member = self._members.pop(client, None)
        if member is not None and member.group is not None:
            self._count(member)
            member.group.members -= 1

    async def popular(
        self, client: Client, start: int, count: int, in_thread: Callable[..., Deferred[Any]]
    ) -> bytes:
        """Return the joined oids of what the client's group uses most.

        :param start, count: which of them: from this one on, so many.
        :param in_thread: runs a slow function.
        """
        member = self._members.get(client) or self._join(client)
        group = member.group
        if group is None:
            return b""
        if self._seconds() >= group.good_until:
            for each in self._members.values():
                if each.group is group:
                    self._count(each)
            if len(group.table) < FEW:
                return b""
            await group.turns.run(self._put_in_order, group, in_thread)
        found = group.order[8 * start : 8 * (start + count)]
        # The client does not load them any more: its next loads are not its first ones.
        member.loads += len(found) // 8
        return found

    async def _put_in_order(self, group: Group, in_thread: Callable[..., Deferred[Any]]) -> None:
        begin = self._seconds()
        if begin < group.good_until:
            # Another client has waited for it, too.
            return
        order = await in_thread(ranked, *group.table.copy())
        if order is not None:
            group.order = order
            now = self._seconds()
            group.good_until = now + _LASTING * (now - begin)


def _name(client: Client) -> str:
    """Return the name of a client's group."""
    group = client.capabilities.get(WARM_START, {}).get("group")
    if isinstance(group, str) and group:
        return group[:_LONGEST]
    return client.label_fields.get("label", "")
