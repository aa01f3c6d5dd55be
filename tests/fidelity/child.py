"""Run tests of ZEO in this process and report each of them, as lines of JSON.

``python -m tests.fidelity.child SWAP GROUP NUMBER`` runs a group's tests from this number on.
Without a group, it tells which there are.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import unittest
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from .swaps import SWAPS

Tell = Callable[..., None]


class Found(NamedTuple):
    """One test."""

    group: str
    name: str
    test: unittest.TestCase
    layer: Any


def modules() -> Iterator[str]:
    """Yield the names of the modules that zope.testrunner would take tests from."""
    import ZEO

    (root,) = ZEO.__path__
    for path in sorted(Path(root).rglob("*.py")):
        if path.stem == "tests" or (path.parent.name == "tests" and path.stem.startswith("test")):
            yield ".".join(path.relative_to(Path(root).parent).with_suffix("").parts)


def find() -> Iterator[Found]:
    """Yield all tests, except those that ZEO marks as very long.

    They are grouped by what has to be set up for them, and else by their module. What is told apart
    only by that has it in its name.
    """
    seen: set[str] = set()
    for module_name in modules():
        module = import_module(module_name)
        if hasattr(module, "test_suite"):
            suite = module.test_suite()
        else:
            suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        for test, layer, level in _flat(suite, None, 1):
            if level > 1:
                continue
            group = module_name if layer is None else layer.__name__
            name = test.id().removeprefix("ZEO.tests.").replace(os.getcwd(), "")
            if name in seen:
                name = f"{group}: {name}"
            seen.add(name)
            yield Found(group, name, test, layer)


def _flat(suite: Any, layer: Any, level: int) -> Iterator[tuple[unittest.TestCase, Any, int]]:
    layer = getattr(suite, "layer", layer)
    level = getattr(suite, "level", level)
    if not isinstance(suite, unittest.TestSuite):
        return iter(((suite, layer, level),))
    return chain.from_iterable(_flat(part, layer, level) for part in suite)


class Result(unittest.TestResult):
    """Remembers what was wrong with the one test that it is given."""

    def text(self) -> str:
        """Return the tracebacks; nothing if the test has passed."""
        return "\n".join(text for _, text in self.failures + self.errors)


def run(tests: list[Found], tell: Tell) -> None:
    """Run tests, of one group."""
    layer = tests[0].layer if tests else None
    if layer is not None:
        layer.setUp()
    for found in tests:
        tell(begun=found.name)
        result = Result()
        found.test(result)
        tell(ended=found.name, text=result.text(), skipped=bool(result.skipped))
    if layer is not None:
        with contextlib.suppress(OSError):
            layer.tearDown()


def main(swap: str, group: str = "", number: str = "0") -> None:
    # Tests print, so that what is told has a descriptor of its own.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    faulthandler.enable()

    def tell(**message: Any) -> None:
        channel.write(json.dumps(message) + "\n")

    SWAPS[swap]()
    tests = list(find())
    if group:
        run([found for found in tests if found.group == group][int(number) :], tell)
        tell(finished=True)
    else:
        tell(tests=[(found.group, found.name) for found in tests])
    # The parent kills this process, with whatever the tests have left.
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
