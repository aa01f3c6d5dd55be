"""The objects that `walks` go through: a database of some 70 000, made by ZODB."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import transaction
from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

__all__ = [
    "CHAIN",
    "DAYS",
    "FOLDER",
    "FOLDERS",
    "OBJECTS",
    "SUBJECTS",
    "TREE",
    "fill",
    "key",
]

OBJECTS = 50_000
FOLDER = 3000
CHAIN = 300

#: Five children each, on four levels below the top: 1 + 5 + 25 + 125 + 625.
TREE = 781
_CHILDREN = 5
_LEVELS = 4

#: How many subfolders a folder of documents has.
FOLDERS = 8

_CATALOGUED = 5000
SUBJECTS = 20
DAYS = 100


def key(number: int) -> str:
    return f"key{number:08}"


def fill(path: Path) -> None:
    database = DB(FileStorage(str(path)))
    root = database.open().root()
    root["objects"] = _folder(range(OBJECTS))
    root["folder"] = _folder(range(FOLDER))
    root["shuffled"] = _folder(random.Random(1).sample(range(OBJECTS), 10_000))
    root["numbers"] = IOBTree({number: PersistentList([number]) for number in range(5000)})
    root["tree"] = _tree(_LEVELS)
    root["chain"] = _chain()
    root["site"] = _document(3)
    root["catalog"] = _catalog(root["objects"])
    transaction.commit()
    database.close()


def _folder(numbers: Any) -> OOBTree:
    """Return a BTree that was filled in this order."""
    folder = OOBTree()
    for number in numbers:
        folder[key(number)] = PersistentMapping(title=f"title {number}", n=number)
    return folder


def _tree(levels: int) -> PersistentMapping:
    children = [_tree(levels - 1) for _ in range(_CHILDREN)] if levels else []
    return PersistentMapping(title="node", text="x" * 200, children=children)


def _chain() -> PersistentMapping:
    link = PersistentMapping(text="x" * 200, next=None)
    for _ in range(CHAIN - 1):
        link = PersistentMapping(text="x" * 200, next=link)
    return link


def _document(depth: int) -> PersistentMapping:
    """Return what content in Zope looks like: an object with some others of its own."""
    document = PersistentMapping(
        title="document",
        owner=PersistentMapping(name="x"),
        subjects=PersistentList([1, 2]),
        permissions=PersistentMapping(view=2),
    )
    if depth:
        document["children"] = OOBTree()
        for number in range(FOLDERS):
            document["children"][f"k{number}"] = _document(depth - 1)
    return document


def _catalog(objects: OOBTree) -> PersistentMapping:
    """Return indexes of some of the objects: BTrees whose values are sets of numbers."""
    choose = random.Random(2)
    found = IOBTree()
    subjects = OOBTree()
    days = IOBTree()
    for document, number in enumerate(choose.sample(range(OBJECTS), _CATALOGUED)):
        found[document] = objects[key(number)]
        for subject in choose.sample(range(SUBJECTS), 3):
            subjects.setdefault(f"subject {subject:02}", IITreeSet()).insert(document)
        days.setdefault(choose.randrange(DAYS), IITreeSet()).insert(document)
    return PersistentMapping(objects=found, subjects=subjects, days=days)
