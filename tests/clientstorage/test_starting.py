"""What a client loads when it starts."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["scramp", "twisted.application", "zeotwisted.storageserver"])
def test_what_few_clients_need_is_not_loaded(package: str) -> None:
    program = f"import sys, zeotwisted.clientstorage; print({package!r} in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"
