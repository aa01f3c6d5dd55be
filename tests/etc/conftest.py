"""The tools of the daemon's tests."""

from __future__ import annotations

from tests.daemon.conftest import folder, run
from tests.tls.conftest import certificates

__all__ = ["certificates", "folder", "run"]
