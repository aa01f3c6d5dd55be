"""Ways through the objects of `graphs`; nothing is changed.

A walk gets the root object, about how many objects to see, and a number that decides what is
chosen at random. It returns how many it has seen.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from BTrees.IIBTree import intersection, multiunion

from .graphs import DAYS, FOLDERS, OBJECTS, SUBJECTS, key

__all__ = ["WALKS", "Walk", "page_numbers"]

Walk = Callable[[Any, int, int], int]


def _look_at(values: Any, count: int) -> int:
    return sum(1 for value in islice(values, count) if str(value["title"]))


def _folder(root: Any, count: int, seed: int) -> int:
    """In the order of the keys, which is that in which the objects were added."""
    return _look_at(root["folder"].values(), count)


def _shuffled(root: Any, count: int, seed: int) -> int:
    """In the order of the keys; the objects were added in any order."""
    return _look_at(root["shuffled"].values(), count)


def _numbers(root: Any, count: int, seed: int) -> int:
    return sum(1 for value in islice(root["numbers"].values(), count) if len(value))


def _keys(root: Any, count: int, seed: int) -> int:
    """The keys only, none of the objects."""
    return sum(1 for _ in islice(root["objects"], count))


def _depth_first(root: Any, count: int, seed: int) -> int:
    seen, stack = 0, [root["tree"]]
    while stack and seen < count:
        stack.extend(reversed(stack.pop()["children"]))
        seen += 1
    return seen


def _breadth_first(root: Any, count: int, seed: int) -> int:
    seen, queue = 0, deque([root["tree"]])
    while queue and seen < count:
        queue.extend(queue.popleft()["children"])
        seen += 1
    return seen


def _chain(root: Any, count: int, seed: int) -> int:
    """Each object is known from the one before only."""
    seen, link = 0, root["chain"]
    while link is not None and seen < count:
        link = link["next"]
        seen += 1
    return seen


def _look_up(root: Any, numbers: Any) -> int:
    """Look up objects in a large BTree, and look at them."""
    objects = root["objects"]
    return sum(1 for number in numbers if objects[key(number)]["n"] == number)


def _lookups(root: Any, count: int, seed: int) -> int:
    return _look_up(root, random.Random(seed).sample(range(OBJECTS), count))


def page_numbers(count: int) -> list[int]:
    """Return the numbers of the objects on the page, always the same."""
    return random.Random(3).sample(range(OBJECTS), count)


def _page(root: Any, count: int, seed: int) -> int:
    return _look_up(root, page_numbers(count))


def _runs(root: Any, count: int, seed: int, length: int) -> int:
    starts = random.Random(seed).sample(range(OBJECTS - length), -(-count // length))
    return sum(_look_up(root, range(start, start + length)) for start in starts)


def _twenty(root: Any, count: int, seed: int) -> int:
    """Twenty in order at random places."""
    return _runs(root, count, seed, 20)


def _two(root: Any, count: int, seed: int) -> int:
    """Two in order at random places: the worst case for what reads ahead."""
    return _runs(root, count, seed, 2)


def _catalog(root: Any, count: int, seed: int) -> int:
    """Queries for a subject and some days, each with the objects that it found."""
    catalog, choose, seen = root["catalog"], random.Random(seed), 0
    while seen < count:
        subject = catalog["subjects"][f"subject {choose.randrange(SUBJECTS):02}"]
        first = choose.randrange(DAYS - 10)
        days = multiunion(list(catalog["days"].values(first, first + 9)))
        seen += _look_at(
            (catalog["objects"][number] for number in intersection(subject, days)), count - seen
        )
    return seen


def _render(document: Any) -> int:
    """Look at a document and the objects of its own; return how many that were."""
    str(document["owner"]["name"])
    str(document["subjects"][0])
    str(document["permissions"]["view"])
    return 4


def _site(root: Any, count: int, seed: int) -> int:
    """Documents with others in them, depth first."""
    seen, stack = 0, [root["site"]]
    while stack and seen < count:
        document = stack.pop()
        seen += _render(document)
        if "children" in document:
            stack.extend(reversed(document["children"].values()))
    return seen


def _documents(root: Any, count: int, seed: int) -> int:
    """Documents one by one, and nothing of the folders that they are in."""
    choose, seen = random.Random(seed), 0
    while seen < count:
        document = root["site"]
        for _ in range(3):
            document = document["children"][f"k{choose.randrange(FOLDERS)}"]
        seen += _render(document)
    return seen


#: By their names in the tables.
WALKS: dict[str, Walk] = {
    "folder": _folder,
    "tree-depth": _depth_first,
    "tree-breadth": _breadth_first,
    "chain": _chain,
    "lookups": _lookups,
    "catalog": _catalog,
    "page": _page,
    "shuffled": _shuffled,
    "numbers": _numbers,
    "keys": _keys,
    "twenty": _twenty,
    "two": _two,
    "site": _site,
    "documents": _documents,
}
