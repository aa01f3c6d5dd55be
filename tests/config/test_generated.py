"""Files as they are generated for Plone work unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zeotwisted.config.server import read_server_config

DATA = Path(__file__).parent / "data"
FILES = sorted(path.name for path in DATA.glob("*.conf"))


def made(name: str, folder: Path) -> Path:
    """Return a copy of a file whose folder is this one."""
    path = folder / "zeo.conf"
    path.write_text((DATA / name).read_text().replace("@HERE@", str(folder)))
    return path


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_and_its_storages_open(name: str, tmp_path: Path) -> None:
    config = read_server_config(made(name, tmp_path))
    assert config.pid_filename == f"{tmp_path}/zeoserver.pid"
    assert config.without_effect == ("<runner>",)
    for opener in config.storages:
        storage = opener.open()
        storage.close()


@pytest.mark.parametrize("name", FILES)
def test_zeo_reads_it_too(name: str, tmp_path: Path) -> None:
    """So it is a file for runzeo, and not one that only we accept."""
    program = (
        "import sys; from ZEO.runzeo import ZEOOptions\n"
        "options = ZEOOptions(); options.realize(['-C', sys.argv[1]])\n"
    )
    path = made(name, tmp_path)
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=dict(os.environ))


def test_there_are_files() -> None:
    assert len(FILES) >= 2
