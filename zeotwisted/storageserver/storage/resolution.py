"""Resolves conflicts in the daemon, with the classes that are allowed; leaves others to clients.

ZODB's storages resolve conflicts by their method `tryToResolveConflict`, which loads every class
that a record names. `install` replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

from twisted.logger import Logger
from ZODB._compat import PersistentPickler, PersistentUnpickler, _protocol
from ZODB.ConflictResolution import BadClass, PersistentReferenceFactory, persistent_id
from ZODB.POSException import ConflictError

from .allowedclasses import AllowedClasses
from .recordscan import is_cheap_to_load

__all__ = [
    "UNRESOLVABLE",
    "LeftToClient",
    "Resolver",
    "install",
    "leave_to_client",
    "resolving_storages",
]

_log = Logger()

#: A record of an object whose class resolves no conflicts, and has nothing to run.
UNRESOLVABLE = b"(cbuiltins\nobject\nNt.N."

#: How deep wrappers of storages are looked into.
_DEEPEST = 10


class LeftToClient(ConflictError):
    """A conflict that the client that commits has to resolve."""


class _NotAllowed(Exception):
    """The class is not allowed here, or has no way to resolve conflicts."""


def resolving_storages(storage: Any) -> Iterator[Any]:
    """Yield all storages that resolve conflicts: this one, and those that it wraps."""
    seen: set[int] = set()
    level = [storage]
    for _ in range(_DEEPEST):
        below = []
        for each in level:
            if id(each) in seen:
                continue
            seen.add(id(each))
            if hasattr(type(each), "tryToResolveConflict"):
                yield each
            below += [
                value
                for value in getattr(each, "__dict__", {}).values()
                if hasattr(value, "tpc_vote")
            ]
        level = below


def install(storage: Any, resolve: Callable[..., bytes]) -> None:
    """Have a storage, and those that it wraps, resolve conflicts by a function.

    :param resolve: its arguments are the storage that has the conflict, and those of
        `tryToResolveConflict`.
    """
    for each in resolving_storages(storage):
        each.tryToResolveConflict = partial(resolve, each)


def leave_to_client(
    storage: Any,
    oid: bytes,
    committedSerial: bytes,
    oldSerial: bytes,
    newpickle: bytes,
    committedData: bytes = b"",
) -> bytes:
    """Leave all conflicts to the client.

    :raises LeftToClient: always.
    """
    # Without the record: ZODB would load it as a pickle, to name its class.
    raise LeftToClient(oid=oid, serials=(committedSerial, oldSerial))


class Resolver:
    """Resolves conflicts of objects whose classes are allowed."""

    def __init__(self, allowed: AllowedClasses) -> None:
        self._allowed = allowed

    def resolve(
        self,
        storage: Any,
        oid: bytes,
        committedSerial: bytes,
        oldSerial: bytes,
        newpickle: bytes,
        committedData: bytes = b"",
    ) -> bytes:
        """Return the record that resolves a conflict.

        :raises LeftToClient: the client has to do it.
        :raises ConflictError: the object's class says that it cannot be resolved.
        """
        serials = (committedSerial, oldSerial)
        try:
            return self._resolved(storage, oid, serials, newpickle, committedData)
        except ConflictError:
            # Without the record: ZODB would load it as a pickle, to name its class.
            raise ConflictError(oid=oid, serials=serials)
        except _NotAllowed:
            pass
        except Exception as error:
            # The client may know better: it has the application's classes.
            _log.debug(
                "a conflict cannot be resolved here, and is left to the client: {kind}: {error}",
                kind=type(error).__name__,
                error=str(error)[:200],
            )
        raise LeftToClient(oid=oid, serials=serials)

    def _resolved(
        self,
        storage: Any,
        oid: bytes,
        serials: tuple[bytes, bytes],
        newpickle: bytes,
        committed_data: bytes,
    ) -> bytes:
        references = PersistentReferenceFactory()
        plain = storage._crs_untransform_record_data
        new = self._unpickler(plain(newpickle), references)
        meta = new.load()
        resolve = self._method(meta)
        committed_serial, old_serial = serials
        committed_data = committed_data or storage.loadSerial(oid, committed_serial)
        old_data = storage.loadSerial(oid, old_serial)
        states = [self._state(plain(data), references) for data in (old_data, committed_data)]
        resolved = resolve(*states, new.load())
        file = BytesIO()
        pickler = PersistentPickler(persistent_id, file, _protocol)
        pickler.dump(meta)
        pickler.dump(resolved)
        record: bytes = storage._crs_transform_record_data(file.getvalue())
        return record

    def _unpickler(self, data: bytes, references: PersistentReferenceFactory) -> Any:
        if not is_cheap_to_load(data):
            raise _NotAllowed
        return PersistentUnpickler(self._allowed.find, references.persistent_load, BytesIO(data))

    def _state(self, data: bytes, references: PersistentReferenceFactory) -> Any:
        unpickler = self._unpickler(data, references)
        unpickler.load()
        return unpickler.load()

    def _method(self, meta: Any) -> Callable[..., Any]:
        """Return the method that resolves conflicts of an object.

        :param meta: the first pickle of its record: a class, or a tuple of it and arguments.
        """
        kind, arguments = meta if type(meta) is tuple and len(meta) == 2 else (meta, None)
        if type(kind) is tuple and len(kind) == 2:
            kind = self._allowed.find(*kind)
        if isinstance(kind, BadClass) or not isinstance(kind, type):
            raise _NotAllowed
        instance: Any = kind.__new__(kind, *(arguments or ()))
        method = getattr(instance, "_p_resolveConflict", None)
        if method is None:
            raise _NotAllowed
        resolve: Callable[..., Any] = method
        return resolve
