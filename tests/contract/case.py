"""Test cases, made of ZODB's test classes: one class per line of the matrix and ZODB class."""

from __future__ import annotations

import atexit
import tempfile
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import pytest
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from ZODB.tests import util
from ZODB.tests.racetest import RaceTests
from ZODB.tests.StorageTestBase import StorageTestBase
from ZODB.tests.TransactionalUndoStorage import TransactionalUndoStorage

from tests.tls.certificates import Certificates
from tests.tls.test_pairs import context

from .backends import BACKENDS, WITHOUT_HISTORY
from .exclusions import reason
from .matrix import FEW_CLASSES, MATRIX, PAIRINGS, TLS_CLASSES, VARIANTS, Pairing, Variant
from .patience import PatientRaces

SECONDS = 30

#: ZODB's tests change the default, and remove it with all that is in it.
_TEMPORARY = tempfile.gettempdir()


@cache
def certificates() -> Certificates:
    """Return what all of them are served with."""
    directory = tempfile.TemporaryDirectory(dir=_TEMPORARY)
    atexit.register(directory.cleanup)
    return Certificates(Path(directory.name))


class Daemon(NamedTuple):
    address: Any
    stop: Callable[[], None]
    directory: Path


class ContractCase(StorageTestBase):
    """Gives each test a daemon with an empty storage, and `_storage`, a client of it.

    A failure that is logged by Twisted, or that ends a thread, fails the test.
    """

    pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

    backend: Callable[[Path], str]
    pairing: Pairing
    variant: Variant

    def setUp(self) -> None:
        super().setUp()
        self._failures: list[Failure] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)
        self._daemons: list[Daemon] = []
        # Those that a test has closed and forgotten need not be kept: racetest makes hundreds.
        self._clients: WeakSet[Any] = WeakSet()
        try:
            self._storage = self._new_storage()
        except BaseException:
            self.tearDown()
            raise

    def _logged(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self._failures.append(event["log_failure"])

    def tearDown(self) -> None:
        try:
            super().tearDown()
        finally:
            util.tearDown(self)  # does nothing unless closing has failed
        self.assertEqual(self._failures, [])

    def _close(self) -> None:
        with ExitStack() as stack:
            for daemon in self._daemons:
                stack.callback(daemon.stop)
            for client in list(self._clients):
                stack.callback(client.close)

    def _start(self, directory: Path, *options: str) -> Daemon:
        options = (*self.pairing.options, *self.variant.options, *options)
        if self.pairing.server == "zeotwisted":
            # The tests undo changes of classes of their own.
            options += ("conflict-classes *",)
        if self.pairing.tls:
            options += certificates().server_section
        address, stop = import_module(self.pairing.server).server(
            storage_conf=type(self).backend(directory),
            zeo_conf="\n".join(("<zeo>", "address 127.0.0.1:0", *options, "</zeo>\n")),
        )
        daemon = Daemon(address, stop, directory)
        self._daemons.append(daemon)
        return daemon

    def _client(self, daemon: Daemon, **options: Any) -> Any:
        if self.pairing.tls:
            options["ssl"] = context(certificates(), certificates().client)
        client = import_module(self.pairing.client).client(
            daemon.address, wait_timeout=SECONDS, **options
        )
        self._clients.add(client)
        return client

    def _new_storage(self) -> Any:
        directory = Path(f"daemon{len(self._daemons)}").absolute()
        directory.mkdir()
        return self._client(self._start(directory))

    # What ZODB's test classes ask of the class that they are mixed into:

    def open(self, read_only: bool = False) -> None:
        """Replace `_storage`, which has been closed. Unless it is to be read-only, its daemon too,
        so that what is in it now must have been kept on disk.
        """
        daemon = self._daemons[0]
        if read_only and not self.variant.read_only_daemon:
            self._storage = self._client(daemon, read_only=True)
            return
        self._daemons.remove(daemon)
        daemon.stop()
        daemon = self._start(daemon.directory, *(("read-only true",) if read_only else ()))
        self._storage = self._client(daemon, read_only_fallback=read_only)

    @cached_property
    def _dst(self) -> Any:
        """Where RecoveryStorage copies to: a storage of another daemon."""
        return self._new_storage()

    def _new_storage_client(self) -> Any:
        return self._client(self._daemons[0])

    # ConflictResolvingTransUndoStorage expects to be mixed with the owner of this.
    _begin_undos_vote = TransactionalUndoStorage._begin_undos_vote

    def _do_store_in_separate_thread(
        self, oid: bytes, revid: bytes, voted: bool
    ) -> threading.Thread:
        """Let another client change an object while `_storage` is in a transaction."""
        other = ContractCase()
        other._storage = self._new_storage_client()
        thread = threading.Thread(target=other._dostore, args=(oid, revid), daemon=True)
        thread.start()
        # After the vote the change has to wait for the end of the transaction, which begins
        # after the return from here.
        thread.join(0.1 if voted else SECONDS)
        return thread


def case_names(cls: type) -> list[str]:
    """Return the names of the cases in one of ZODB's test classes.

    ZODB names them ``test...``, and still names one ``check...``.
    """
    return [name for name in dir(cls) if name.startswith(("test", "check"))]


def collected_name(name: str) -> str:
    """Return the name under which a case is collected."""
    return name if name.startswith("test") else f"test_{name}"


class Cell(NamedTuple):
    """One of ZODB's test classes on one line of the matrix."""

    backend: str
    pairing: str
    variant: str
    cls: type

    @property
    def name(self) -> str:
        words = (self.cls.__name__, self.backend, self.pairing, self.variant)
        return "_".join(filter(None, words))

    def case(self) -> type[ContractCase]:
        namespace: dict[str, Any] = {
            "__doc__": f"{self.cls.__name__} of ZODB.",
            "backend": staticmethod(BACKENDS[self.backend]),
            "pairing": PAIRINGS[self.pairing],
            "variant": VARIANTS[self.variant],
            # Whether a transaction's extension comes back as it was stored, byte for byte.
            "use_extension_bytes": PAIRINGS[self.pairing].protocol == b"M6",
        }
        for name in case_names(self.cls):
            why = reason(self.backend, self.variant, self.cls.__name__, name, self.pairing)
            method = getattr(self.cls, name)
            case = _calling(method)
            if why is not None:
                case = unittest.skip(why)(case)
            if getattr(method, "level", 1) > 1:  # see ZODB.tests.util.long_test
                case = pytest.mark.slow(case)
            namespace[collected_name(name)] = case
        mixed: tuple[type, ...] = (ContractCase, self.cls)
        if self.backend in WITHOUT_HISTORY and issubclass(self.cls, RaceTests):
            mixed = (ContractCase, PatientRaces, self.cls)
        return type(self.name, mixed, namespace)


def _calling(method: Callable[..., None]) -> Callable[..., None]:
    """Return a method that can be marked, unlike ZODB's, which belongs to all its subclasses."""

    def case(self: Any, *args: Any, **kwargs: Any) -> None:
        method(self, *args, **kwargs)

    return case


def cells(backend: str) -> Iterator[Cell]:
    """Yield all that is run with a backend."""
    for pairing in MATRIX[backend]:
        for name, variant in VARIANTS.items():
            for cls in variant.classes:
                if PAIRINGS[pairing].tls and (name or cls not in TLS_CLASSES):
                    continue
                few = FEW_CLASSES.get((backend, pairing))
                if few is not None and (name or cls not in few):
                    continue
                yield Cell(backend, pairing, name, cls)


def cases(backend: str, module: str) -> dict[str, type[ContractCase]]:
    """Return a module's classes for a backend, by name."""
    result = {}
    for cell in cells(backend):
        case = cell.case()
        case.__module__ = module
        result[cell.name] = case
    return result
