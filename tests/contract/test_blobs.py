"""ZODB's tests of storages with blobs, in all pairings, with caches and with a shared folder.

With RelStorage, the blobs are in the database, and the daemon's folder is a cache of its own.

They are doctests and need a factory instead of a class, so they are not cells of the matrix; what
is run with whom is taken from there.
"""

from __future__ import annotations

import doctest
import os
import stat
import unittest
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ZODB.tests import testblob

from .backends import BACKENDS, WITHOUT_HISTORY
from .case import SECONDS
from .exclusions import NO_UNDO
from .matrix import MATRIX, PAIRINGS


def _filestorage(directory: Path, blobs: str | None) -> str:
    return f"""\
<blobstorage>
 blob-dir {blobs or directory.with_suffix(".server-blobs")}
 <filestorage>
  path {directory.with_suffix(".fs")}
 </filestorage>
</blobstorage>
"""


def _relstorage(backend: str) -> Callable[[Path, str | None], str]:
    def section(directory: Path, blobs: str | None) -> str:
        directory.mkdir(exist_ok=True)
        return BACKENDS[backend](directory)

    return section


def factory(
    name: str, shared: bool, section: Callable[[Path, str | None], str]
) -> Callable[[str, str], Any]:
    """Return a function that returns a client of a daemon of its own.

    :param section: returns the daemon's storage, with what is shared.
    """
    pairing = PAIRINGS[name]

    def create_storage(storage_name: str, blob_dir: str) -> Any:
        directory = Path(storage_name).absolute()
        folder = str(Path(blob_dir).absolute())
        client_module, server_module = map(import_module, (pairing.client, pairing.server))
        address, stop = server_module.server(
            storage_conf=section(directory, folder if shared else None),
            zeo_conf="\n".join(("<zeo>", "address 127.0.0.1:0", *pairing.options, "</zeo>\n")),
        )
        client = client_module.client(
            address, wait_timeout=SECONDS, blob_dir=folder, shared_blob_dir=shared
        )
        assert client.protocol_version == pairing.protocol
        close = client.close
        # Closing twice has to be possible, stopping twice has not.
        stops = [stop]

        def close_both() -> None:
            close()
            while stops:
                stops.pop()()

        # The tests know of nothing but the storage.
        client.close = close_both
        return client

    return create_storage


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def open_as_anybody(name: Any, mode: str = "r", *args: Any) -> Any:
    """Open a file as if this were not root, who may write to any file."""
    with suppress(FileNotFoundError):
        if "w" in mode and not os.stat(name).st_mode & stat.S_IWUSR:
            raise PermissionError(name)
    return open(name, mode, *args)


ANSWERED_BEFORE = "the test reads what is logged for the daemon's copy, made after the answer"


def suite_cases(
    name: str, shared: bool, section: Callable[[Path, str | None], str], first: str
) -> Iterator[Any]:
    suite = testblob.storage_reusable_suite(
        first, factory(name, shared, section), test_packing=False
    )
    for test in flat(suite):
        words = (first, name, "shared" if shared else "cached", test.id().rpartition(".")[2])
        undoes = isinstance(test, testblob.BlobUndoTests) and first in WITHOUT_HISTORY
        marks: Any = pytest.mark.skip(reason=NO_UNDO) if undoes else ()
        if first.startswith("relstorage_postgresql") and words[-1].endswith("wrong_partition"):
            marks = pytest.mark.skip(reason=ANSWERED_BEFORE)
        yield pytest.param(test, id="-".join(words), marks=marks)


def cases() -> Iterator[Any]:
    for name in MATRIX["filestorage"]:
        pairing = PAIRINGS[name]
        if pairing.tls:
            # What is different with TLS is the way of the bytes: see tests/tls/test_blobs.py.
            continue
        # Nothing but the names of shared files is sent, and one encoding will do for that.
        for shared in (False,) if pairing.options else (False, True):
            yield from suite_cases(name, shared, _filestorage, "filestorage")


def relstorage_cases(backends: Iterable[str]) -> Iterator[Any]:
    for backend in backends:
        yield from suite_cases("ours", False, _relstorage(backend), backend)


RELSTORAGE = [name for name in BACKENDS if name.startswith("relstorage")]
POSTGRESQL = [name for name in RELSTORAGE if "postgresql" in name]
SQLITE = [name for name in RELSTORAGE if name not in POSTGRESQL]


@pytest.mark.parametrize("test", [*cases(), *relstorage_cases(SQLITE)])
def test_blobs(test: unittest.TestCase) -> None:
    if isinstance(test, doctest.DocTestCase):
        test._dt_test.globs["open"] = open_as_anybody  # type: ignore[attr-defined]
    result = unittest.TestResult()
    test.run(result)
    assert result.testsRun == 1
    for _, report in (*result.errors, *result.failures):
        pytest.fail(report)


@pytest.mark.usefixtures("postgresql_backends")
@pytest.mark.parametrize("test", list(relstorage_cases(POSTGRESQL)))
def test_blobs_in_postgresql(test: unittest.TestCase) -> None:
    test_blobs(test)
