"""What all tests need."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis measures time, which says nothing on a busy machine.
settings.register_profile(
    "any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Let child processes have SIGINT, which shells keep from what they start in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
