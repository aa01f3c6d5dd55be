"""A private attribute is used by the class that has it, and by no other code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

#: Private names of other libraries, for which there is no public way; and why they are needed.
OTHERS = {
    "_crs_untransform_record_data": "ZODB: what a wrapper has done to a record, for conflicts",
    "_crs_transform_record_data": "ZODB: likewise",
    "_exit": "os: the exit code can be set in no other way after the reactor has run",
    "_fp": "zc.lockfile: a child process closes the file without unlocking it",
    "_getframe": "sys: ZConfig does not tell a component which schema imports it",
    "_types": "ZConfig: a schema's types",
    "_internalReaders": "Twisted: the reactor's waker, which a child process closes",
    "_registerAsIOThread": "Twisted: the reactor is not in the main thread",
    "_started": "Twisted: whether the reactor runs",
    "_file": "ZODB: a FileStorage's file, and what reads it, to bring it in order after a failure",
    "_files": "ZODB: likewise",
    "_file_name": "ZODB: a FileStorage's log, read without loading extensions",
    "_lock": "ZODB: likewise",
    "_lookup_pos": "ZODB: likewise",
    "_pack_is_in_progress": "ZODB: likewise",
    "_pos": "ZODB: likewise",
    "_tfile": "ZODB: likewise",
    "_tend": "ZODB: where a transaction ends, to notice records that are damaged",
    "_read_data_header": "ZODB: likewise",
    "_read_txn_header": "ZODB: likewise",
    "_dsn": "RelStorage: the data source, to which limits for lost machines are added",
    "_tpc_phase": "RelStorage: the SQL transaction that a commit is in, to write its mark there",
    "_actions": "argparse: the arguments of a parser, for completion and the page of commands",
    "_SubParsersAction": "argparse: likewise",
    "_choices_actions": "argparse: likewise",
    "_asdict": "a method of named tuples, which is public in spite of its name",
    "_replace": "a method of named tuples, which is public in spite of its name",
}


def foreign(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each private attribute of an object other than ``self``."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and ast.unparse(node.value) not in ("self", "cls", "super()")
        ):
            yield node.lineno, node.attr


def test_private_attributes_are_private() -> None:
    found = []
    for path in sorted((ROOT / "zeotwisted").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for line, attribute in foreign(path.read_text()):
            if attribute not in OTHERS:
                found.append(f"{name}:{line} uses {attribute}")
    assert found == []


def test_what_is_listed_is_used() -> None:
    used = {
        attribute
        for path in (ROOT / "zeotwisted").rglob("*.py")
        for _, attribute in foreign(path.read_text())
    }
    assert OTHERS.keys() <= used


def test_a_foreign_private_attribute_is_found() -> None:
    assert sorted(foreign("self._a.b = cls._c\nother._d()\nself.e._f")) == [(2, "_d"), (3, "_f")]
