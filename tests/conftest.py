"""What all tests need."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgresql.server import PostgreSQLServer, missing_programs
from tests.storageserver.openfiles import descriptors

#: How many descriptors the tests of one module may leave open in this process.
_LEFT = 100

# Hypothesis measures time, which says nothing on a busy machine.
settings.register_profile(
    "any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Let child processes have SIGINT, which shells keep from what they start in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def few_descriptors() -> Iterator[None]:
    """Close what nobody refers to any more: a reactor with `select` works with the first 1024."""
    before = descriptors()
    yield
    if descriptors() > before + _LEFT // 10:
        gc.collect()
    assert descriptors() <= before + _LEFT, "descriptors stay open"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """A real PostgreSQL for all tests of this process; each makes databases of its own in it."""
    reason = missing_programs()
    if reason is not None:
        pytest.skip(reason)
    for module in ("psycopg", "psycopg2", "relstorage"):
        pytest.importorskip(module)
    with PostgreSQLServer() as server:
        yield server
