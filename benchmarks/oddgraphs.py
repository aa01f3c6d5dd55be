"""More objects, and ways through them, than `graphs` and `walks` have: what one may forget."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import transaction
from BTrees.LOBTree import LOBTree
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.list import PersistentList
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage

__all__ = ["ODD_WALKS", "odd_storage"]


class Thing(Persistent):
    """An object with any attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def odd_storage(scale: float = 1.0) -> MappingStorage:
    """Return a storage that has them.

    :param scale: make fewer of everything.
    """
    choose = random.Random(7)

    def some(count: int) -> range:
        return range(max(int(count * scale), 10))

    storage = MappingStorage()
    database = DB(storage)
    connection = database.open()
    root = connection.root()
    root["documents"] = OOBTree(
        {f"d{number:05}": _document(number, choose.randbytes(6000)) for number in some(1000)}
    )
    link = None
    for number in some(400):
        link = Thing(next=link, side=Thing(data=choose.randbytes(3000)), number=number)
    root["links"] = link
    nodes = [Thing(number=number) for number in some(5000)]
    for node in nodes:
        node.out = [choose.choice(nodes) for _ in range(6)]
    root["web"] = PersistentList(nodes)
    root["list"] = PersistentList([Thing(number=number) for number in some(2000)])
    root["tree"] = LOBTree(
        {number: Thing(number=number, text="y" * choose.randrange(400)) for number in some(20_000)}
    )
    root["photos"] = OOBTree(
        {f"p{number:04}": Thing(data=choose.randbytes(20_000)) for number in some(400)}
    )
    root["deep"] = _deep(6)
    transaction.commit()
    connection.close()
    return storage


def _document(number: int, body: bytes) -> Thing:
    return Thing(
        title=f"title {number}",
        meta=Thing(number=1),
        body=Thing(data=body),
        owner=Thing(number=number),
        history=PersistentList([Thing(number=each) for each in range(5)]),
    )


def _deep(levels: int) -> Thing:
    children = [_deep(levels - 1) for _ in range(3)] if levels else []
    return Thing(children=children, other=Thing(number=1), number=levels)


def _look_at(things: Any) -> None:
    for thing in things:
        str(thing.number)


def _rendered(root: Any, choose: random.Random) -> None:
    for document in root["documents"].values():
        _look_at((document.meta, document.owner))


def _titles(root: Any, choose: random.Random) -> None:
    for document in root["documents"].values():
        str(document.title)


def _bodies(root: Any, choose: random.Random) -> None:
    keys = list(root["documents"])
    for _ in range(300):
        len(root["documents"][choose.choice(keys)].body.data)


def _links(root: Any, choose: random.Random) -> None:
    link = root["links"]
    while link is not None:
        link = link.next


def _links_and_sides(root: Any, choose: random.Random) -> None:
    link = root["links"]
    while link is not None:
        len(link.side.data)
        link = link.next


def _random_walk(root: Any, choose: random.Random) -> None:
    node = root["web"][0]
    for _ in range(1500):
        node = choose.choice(node.out)


def _popular(root: Any, choose: random.Random) -> None:
    tree = root["tree"]
    last = tree.maxKey()
    _look_at(tree[min(last, int(choose.paretovariate(0.5)))] for _ in range(3000))


def _anywhere(root: Any, choose: random.Random) -> None:
    tree = root["tree"]
    last = tree.maxKey()
    _look_at(tree[choose.randrange(last)] for _ in range(1500))


def _in_turns(root: Any, choose: random.Random) -> None:
    """Scans, and look-ups between them."""
    tree = root["tree"]
    last = tree.maxKey()
    for _ in range(6):
        start = choose.randrange(last)
        _look_at(tree.values(start, start + 300))
        _look_at(tree[choose.randrange(last)] for _ in range(200))


def _some_photos(root: Any, choose: random.Random) -> None:
    keys = list(root["photos"])
    for key in choose.sample(keys, len(keys) // 4):
        len(root["photos"][key].data)


def _listed(root: Any, choose: random.Random) -> None:
    _look_at(root["list"])


def _listed_backwards(root: Any, choose: random.Random) -> None:
    _look_at(reversed(root["list"]))


def _each_seventh(root: Any, choose: random.Random) -> None:
    _look_at(root["list"][::7])


def _some_listed(root: Any, choose: random.Random) -> None:
    _look_at(choose.sample(list(root["list"]), len(root["list"]) // 5))


def _branches(root: Any, choose: random.Random) -> None:
    for _ in range(120):
        node = root["deep"]
        while node.children:
            node = choose.choice(node.children)
        str(node.number)


def _all_deep(root: Any, choose: random.Random) -> None:
    stack = [root["deep"]]
    while stack:
        node = stack.pop()
        stack.extend(node.children)


#: By their names in the tables.
ODD_WALKS: dict[str, Callable[[Any, random.Random], None]] = {
    "rendered": _rendered,
    "titles": _titles,
    "bodies": _bodies,
    "links": _links,
    "sides": _links_and_sides,
    "random-walk": _random_walk,
    "popular": _popular,
    "anywhere": _anywhere,
    "in-turns": _in_turns,
    "photos": _some_photos,
    "list": _listed,
    "backwards": _listed_backwards,
    "seventh": _each_seventh,
    "some-listed": _some_listed,
    "branches": _branches,
    "deep": _all_deep,
}
