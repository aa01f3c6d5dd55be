"""Test cases, made of ZODB's test classes: one class per line of the matrix and ZODB class."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ZODB.tests.StorageTestBase import StorageTestBase

from .backends import BACKENDS
from .exclusions import reason
from .matrix import MATRIX, PAIRINGS, VARIANTS, Pairing

SECONDS = 30


class Daemon(NamedTuple):
    address: Any
    stop: Callable[[], None]
    directory: Path


class ContractCase(StorageTestBase):
    """Gives each test a daemon with an empty storage, and `_storage`, a client of it."""

    backend: Callable[[Path], str]
    pairing: Pairing
    options: tuple[str, ...]

    def setUp(self) -> None:
        super().setUp()
        self._daemons: list[Daemon] = []
        self._clients: list[Any] = []
        try:
            self._storage = self._new_storage()
        except BaseException:
            self.tearDown()
            raise

    def _close(self) -> None:
        while self._clients:
            self._clients.pop().close()
        while self._daemons:
            self._daemons.pop().stop()

    def _start(self, directory: Path) -> Daemon:
        address, stop = import_module(self.pairing.server).server(
            storage_conf=type(self).backend(directory),
            zeo_conf="\n".join(("<zeo>", "address 127.0.0.1:0", *self.options, "</zeo>\n")),
        )
        daemon = Daemon(address, stop, directory)
        self._daemons.append(daemon)
        return daemon

    def _client(self, daemon: Daemon, **options: Any) -> Any:
        client = import_module(self.pairing.client).client(
            daemon.address, wait_timeout=SECONDS, **options
        )
        self._clients.append(client)
        return client

    def _new_storage(self) -> Any:
        directory = Path(f"daemon{len(self._daemons)}").absolute()
        directory.mkdir()
        return self._client(self._start(directory))

    # What ZODB's test classes ask of the class that they are mixed into:

    def open(self, read_only: bool = False) -> None:
        """Replace `_storage`, which has been closed; if it is for writing, its daemon too."""
        daemon = self._daemons[0]
        if not read_only:
            self._daemons.remove(daemon)
            daemon.stop()
            daemon = self._start(daemon.directory)
        self._storage = self._client(daemon, read_only=read_only)

    @cached_property
    def _dst(self) -> Any:
        """Where RecoveryStorage copies to: a storage of another daemon."""
        return self._new_storage()

    def _new_storage_client(self) -> Any:
        return self._client(self._daemons[0])

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
        pairing = PAIRINGS[self.pairing]
        namespace: dict[str, Any] = {
            "__doc__": f"{self.cls.__name__} of ZODB.",
            "backend": staticmethod(BACKENDS[self.backend]),
            "pairing": pairing,
            "options": pairing.options + VARIANTS[self.variant].options,
        }
        for name in case_names(self.cls):
            why = reason(self.backend, self.variant, self.cls.__name__, name)
            method = getattr(self.cls, name)
            if why is not None:
                namespace[collected_name(name)] = unittest.skip(why)(_unrun(method))
            elif collected_name(name) != name:
                namespace[collected_name(name)] = method
        return type(self.name, (ContractCase, self.cls), namespace)


def _unrun(method: Callable[..., None]) -> Callable[[Any], None]:
    def case(self: Any) -> None:
        raise AssertionError("excluded, and run nevertheless")

    case.__name__ = method.__name__
    return case


def cells(backend: str) -> Iterator[Cell]:
    """Yield all that is run with a backend."""
    for pairing in MATRIX[backend]:
        for name, variant in VARIANTS.items():
            for cls in variant.classes:
                yield Cell(backend, pairing, name, cls)


def cases(backend: str, module: str) -> dict[str, type[ContractCase]]:
    """Return a module's classes for a backend, by name."""
    result = {}
    for cell in cells(backend):
        case = cell.case()
        case.__module__ = module
        result[cell.name] = case
    return result
