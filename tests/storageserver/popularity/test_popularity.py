"""What the clients of a group use most: who is counted where, and in what memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from ZODB.utils import p64

from zeotwisted.protocol import WARM_START, numbers
from zeotwisted.storageserver.popularity import Popularity, popularity
from zeotwisted.storageserver.popularity.table import MOST_SLOTS


class Client:
    def __init__(self, label: str = "", group: Any = None) -> None:
        self.label_fields = {"label": label} if label else {}
        self.capabilities: Any = {} if group is None else {WARM_START: {"group": group}}


class World:
    """Clients, and what they load."""

    def __init__(self) -> None:
        self.now = 0.0
        self.popularity = Popularity(lambda: self.now)
        #: How often an order was made.
        self.ordered = 0

    def load(self, client: Client, objects: Any) -> None:
        for number in objects:
            self.popularity.loaded(client, p64(number))

    def client(self, objects: Any, **options: Any) -> Client:
        """Return a client that has loaded objects, and has gone."""
        client = Client(**options)
        self.load(client, objects)
        self.popularity.leave(client)
        return client

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.ordered += 1
        return succeed(function(*args))

    def popular(self, client: Client, start: int = 0, count: int = 1000) -> list[int]:
        joined = self.popularity.popular(client, start, count, self.in_thread)
        found: list[bytes] = []
        Deferred.fromCoroutine(joined).addCallback(found.append)
        return list(numbers(found[0]))


@pytest.fixture
def world() -> World:
    return World()


def test_what_others_have_loaded_is_told(world: World) -> None:
    world.client(range(100))
    assert sorted(world.popular(Client())) == list(range(100))


def test_what_several_load_is_first(world: World) -> None:
    world.client(range(200))
    for _ in range(3):
        world.client(range(150, 200))
    assert set(world.popular(Client(), 0, 50)) == set(range(150, 200))
    assert set(world.popular(Client(), 50)) == set(range(150))


def test_what_is_loaded_early_is_first(world: World) -> None:
    world.client(range(10_000))
    assert sum(world.popular(Client(), 0, 1000)) / 1000 < 700


def test_labels_and_names_of_groups_are_groups(world: World) -> None:
    world.client(range(100, 200), label="zope")
    world.client(range(200, 300), group="web", label="zope")
    world.client(range(300, 400), label="web")
    world.client(range(400, 500))
    assert set(world.popular(Client("zope"))) == set(range(100, 200))
    assert set(world.popular(Client("other", "web"))) == set(range(200, 400))
    assert set(world.popular(Client(""))) == set(range(400, 500))
    assert world.popular(Client("none")) == []


@pytest.mark.parametrize("group", [5, b"web", ["web"], "", {"a": 1}])
def test_a_group_that_is_no_name_is_none(world: World, group: Any) -> None:
    world.client(range(100), group=group, label="zope")
    assert len(world.popular(Client("zope"))) == 100


def test_few_objects_are_not_worth_it(world: World) -> None:
    world.client(range(popularity.FEW - 1))
    assert world.popular(Client()) == []
    world.client([1000])
    assert len(world.popular(Client())) == popularity.FEW


def test_what_is_brought_in_does_not_make_later_loads_early_ones(world: World) -> None:
    world.client(range(5000))
    warm = Client()
    assert len(world.popular(warm, 0, 5000)) == 5000
    # It lacks only what is rarely used.
    world.load(warm, range(6000, 6100))
    assert not set(world.popular(Client(), 0, 1000)).intersection(range(6000, 6100))


def test_what_was_used_counts_as_what_was_loaded(world: World) -> None:
    client = Client()
    world.popularity.used(client, b"".join(map(p64, range(60))))
    assert sorted(world.popular(client)) == list(range(60))


def test_what_is_in_use_counts(world: World) -> None:
    world.client(range(3000))
    warm = Client()
    for _ in range(3):
        world.popularity.in_use(warm, b"".join(map(p64, range(2500, 2600))))
    assert set(range(2500, 2600)) <= set(world.popular(Client(), 0, 1000))


def test_the_loads_of_a_client_whose_cache_is_in_use_are_no_early_ones(world: World) -> None:
    again = Client()
    world.popularity.in_use(again, b"")
    world.load(again, range(5000, 5600))
    world.client(range(1000))
    assert not set(world.popular(Client(), 0, 700)).intersection(range(5000, 5600))


def test_what_clients_do_now_counts_more(world: World) -> None:
    for _ in range(5):
        world.client(range(300))
    for _ in range(30):
        world.client(range(1000, 1300))
    for _ in range(25):
        world.client(range(2000, 2300))
    assert set(world.popular(Client(), 0, 300)) == set(range(2000, 2300))


def test_a_long_session_begins_again(world: World) -> None:
    client = Client()
    world.load(client, range(20_032))
    world.now += 4000
    world.load(client, range(30_016, 30_656))
    popular = set(world.popular(Client(), 0, 2000))
    assert len(popular & set(range(30_016, 30_656))) > 500
    # What it uses is in its cache: what it still loads is not used most.
    assert set(range(500)) <= popular


def test_the_order_is_used_for_a_while(world: World) -> None:
    world.client(range(100))

    def slow(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        world.now += 0.5
        return succeed(function(*args))

    world.in_thread = slow  # type: ignore[method-assign]
    assert len(world.popular(Client())) == 100
    world.client(range(100, 200))
    assert len(world.popular(Client())) == 100
    world.now += 10
    assert len(world.popular(Client())) == 200


def test_those_who_ask_together_wait_for_one_order(world: World) -> None:
    world.client(range(100))
    asked: list[Deferred[Any]] = []
    world.in_thread = lambda *args: asked.append(Deferred()) or asked[-1]  # type: ignore
    found: list[bytes] = []
    for _ in range(3):
        coroutine = world.popularity.popular(Client(), 0, 10, world.in_thread)
        Deferred.fromCoroutine(coroutine).addCallback(found.append)
    assert (len(asked), found) == (1, [])
    world.now += 1.0
    asked[0].callback(p64(7))
    assert (len(asked), found) == (1, [p64(7)] * 3)


def test_one_who_leaves_while_an_order_is_made_stays_forgotten(world: World) -> None:
    world.client(range(100))
    order: Deferred[Any] = Deferred()
    client = Client()
    coroutine = world.popularity.popular(client, 0, 10, lambda *args: order)
    done = Deferred.fromCoroutine(coroutine)
    world.popularity.leave(client)
    order.callback(None)
    assert len(world.popularity) == 0
    done.addErrback(lambda failure: pytest.fail(str(failure)))
    assert len(world.popular(Client())) == 100


def test_groups_are_bounded(world: World) -> None:
    for number in range(500):
        world.client(range(100), label=f"label {number}")
    assert len(world.popularity._groups) <= 16
    assert world.popular(Client("label 0")) == []
    assert len(world.popular(Client("label 499"))) == 100


def test_groups_that_have_clients_stay(world: World) -> None:
    clients = [Client(f"label {number}") for number in range(20)]
    for client in clients:
        world.load(client, range(100))
    assert [len(world.popular(client)) for client in clients] == 16 * [100] + 4 * [0]
    world.popularity.leave(clients[0])
    world.client(range(100), label="another")
    assert world.popular(Client("label 0")) == []


def test_memory_is_bounded_for_all_groups_together(world: World) -> None:
    for group in range(10):
        client = Client(f"label {group}")
        for start in range(0, 200_000, 1000):
            world.popularity.used(client, b"".join(map(p64, range(start, start + 1000))))
    slots = sum(len(group.table.copy()[0]) for group in world.popularity._groups.values())
    assert slots <= 4 * MOST_SLOTS


def test_many_sessions_do_not_overflow(world: World) -> None:
    for number in range(1000):
        world.client(range(number, number + 64), group="web")
    popular = world.popular(Client("web"), 0, 10)
    assert min(popular) > 900
