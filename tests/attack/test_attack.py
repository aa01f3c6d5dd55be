"""All attacks in a small form: the clients' calls succeed, and nothing is left of the attacker.

Nothing here depends on how fast the machine is. ``python -m tests.attack`` measures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .attacks import ATTACKS
from .siege import Siege

pytestmark = pytest.mark.timeout(300)

#: The limits that an attack reaches, even in its small form.
REACHED = {
    "idle_connections": {"address-limit"},
    "idle_sessions": {"address-limit"},
    "half_messages": {"message-memory"},
    "iterators": {"iterator-files"},
    "many_operations": {"operation-limit"},
    "transactions_in_memory": {"spool-memory"},
}

#: The attacks that hold connections for a while, though no limit of clients' is reached.
HOLDING = {"silent_visitors", "deaf_viewers", "viewers", "deaf_operators", "lying_standbys"}

#: The size of an attack, where the smallest one does not reach a limit.
SCALES = {"idle_connections": 0.3, "idle_sessions": 0.3, "half_messages": 0.5, "iterators": 0.3}
SCALES |= {"many_operations": 3.0, "transactions_in_memory": 0.3}


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    siege = Siege(tmp_path_factory.mktemp("siege"), seconds=0.5, rest=0.0)
    yield siege
    siege.end()
    log = siege.victim.log
    assert "Traceback" not in log
    assert "Main loop terminated" in log


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_left(siege: Siege, name: str) -> None:
    outcome = siege.attack(name, SCALES.get(name, 0.1))
    assert outcome.before.failures == outcome.during.failures == []
    assert set(outcome.struck) >= REACHED.get(name, set())
    assert outcome.worst.descriptors < 1024 - 64
    if name in HOLDING:
        assert outcome.worst.descriptors > outcome.idle.descriptors + 1
