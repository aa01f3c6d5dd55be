"""Get the source of ZEO with its tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "6.2"

#: Names a folder with the source distribution, for machines without an index of packages.
VARIABLE = "ZEOTWISTED_FIDELITY_SDIST"


class Unavailable(Exception):
    """The source distribution is not here, and the index cannot be reached."""


def source() -> Path:
    """Return the folder to import ZEO from; it is fetched if it is not in the user's cache.

    :raises Unavailable: it cannot be fetched.
    """
    folder = _cache() / f"ZEO-{VERSION}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            unpacked = _unpack(_archive(Path(work)), Path(work))
            try:
                unpacked.rename(folder)
            except OSError:
                # Another process was faster.
                if not folder.exists():
                    raise
    return folder / "src"


def _cache() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "zeotwisted-tests"


def _archive(work: Path) -> Path:
    given = os.environ.get(VARIABLE)
    if given is None:
        _download(work)
    where = work if given is None else Path(given)
    for path in sorted(where.glob("*.tar.gz")):
        if path.name.lower() == f"zeo-{VERSION}.tar.gz":
            return path
    raise Unavailable(f"there is no source distribution of ZEO {VERSION} in {where}")


def _download(work: Path) -> None:
    wanted = f"ZEO=={VERSION}"
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "ZEO")
    command = (sys.executable, "-m", "pip", "download", *options, "--dest", str(work), wanted)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["pip says nothing"]
        raise Unavailable(
            f"pip cannot download {wanted}: {lines[-1]}; "
            f"name a folder that has its source distribution in {VARIABLE}"
        )


def _unpack(archive: Path, work: Path) -> Path:
    with tarfile.open(archive) as tar:
        # The filter is there since 3.10.12 and 3.11.4.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(work, filter="data")
        else:
            tar.extractall(work)
    return work / archive.name.removesuffix(".tar.gz")
