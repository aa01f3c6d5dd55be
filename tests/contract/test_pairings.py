"""Each pairing speaks what it is meant to speak, or the contract would prove something else."""

from __future__ import annotations

from itertools import chain

import pytest

from .backends import BACKENDS
from .case import ContractCase
from .matrix import MATRIX, PAIRINGS, VARIANTS


@pytest.mark.parametrize("name", sorted(set(chain.from_iterable(MATRIX.values()))))
def test_protocol(name: str) -> None:
    class Case(ContractCase):
        backend = staticmethod(BACKENDS["mappingstorage"])
        pairing = PAIRINGS[name]
        variant = VARIANTS[""]

    case = Case()
    case.setUp()
    try:
        assert case._storage.protocol_version == case.pairing.protocol
    finally:
        case.tearDown()
        case.doCleanups()
