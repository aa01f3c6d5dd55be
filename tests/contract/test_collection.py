"""Nothing of the contract is left out silently."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from ZODB.tests.racetest import RaceTests

from .backends import BACKENDS
from .case import case_names, cells
from .exclusions import EXCLUSIONS, Exclusion
from .matrix import CLASSES, FEW_CLASSES, MATRIX, PAIRINGS, VARIANTS


def test_all_cases_of_each_class_are_collected() -> None:
    expected = {
        cell.name: len(case_names(cell.cls)) for backend in MATRIX for cell in cells(backend)
    }
    complete = [backend for backend in MATRIX if (backend, "ours") not in FEW_CLASSES]
    assert len(expected) >= len(CLASSES) * len(complete)
    assert 0 not in expected.values()

    pytest_ = (sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider")
    output = subprocess.run(
        [*pytest_, "--collect-only", "-q", Path(__file__).parent],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ids = (line.split("::") for line in output.splitlines())
    assert Counter(id[1] for id in ids if len(id) == 3) == expected


def test_the_race_tests_are_among_them() -> None:
    (basic,) = (cls for cls in CLASSES if issubclass(cls, RaceTests))
    assert set(case_names(RaceTests)) < set(case_names(basic))


def test_names_of_cases() -> None:
    class Cases:
        def testOne(self) -> None: ...
        def checkTwo(self) -> None: ...
        def _check_three(self) -> None: ...
        def dont_testFour(self) -> None: ...

    assert sorted(case_names(Cases)) == ["checkTwo", "testOne"]


@pytest.mark.parametrize("exclusion", EXCLUSIONS, ids=lambda e: f"{e.backend}-{e.cls}-{e.method}")
def test_each_exclusion_excludes_something(exclusion: Exclusion) -> None:
    lines = product(BACKENDS, PAIRINGS, VARIANTS.items())
    assert any(
        exclusion.matches(backend, name, cls.__name__, method, pairing)
        for backend, pairing, (name, variant) in lines
        for cls in variant.classes
        for method in case_names(cls)
    )
