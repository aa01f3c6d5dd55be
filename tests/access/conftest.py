"""Certificates, as in the tests of TLS."""

from __future__ import annotations

from tests.tls.conftest import certificates

__all__ = ["certificates"]
