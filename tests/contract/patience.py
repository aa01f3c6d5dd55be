"""ZODB's race tests for storages that keep no history.

A client cannot load a record any more that has been changed after what the client sees. It then
gets a ReadConflictError, and has to begin its transaction again, as applications do.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import ReadConflictError
from ZODB.tests.racetest import IModelSpec, RaceTests
from zope.interface import implementer

__all__ = ["PatientRaces"]


@implementer(IModelSpec)
class _Patient:
    """A model of a race test, for which a transaction begins again after a read conflict."""

    def __init__(self, model: Any) -> None:
        self.init = model.init
        self.next = model.next
        self._assert_state_ok = model.assertStateOK

    def assertStateOK(self, root: Any) -> None:
        while True:
            try:
                self._assert_state_ok(root)
                return
            except ReadConflictError:
                # Nothing is changed before this is called for the first time in a transaction, and
                # afterwards all is loaded.
                root._p_jar.transaction_manager.begin()


class PatientRaces(RaceTests):  # type: ignore[misc]
    """To be mixed into one of ZODB's test classes with race tests."""

    def _check_race_load_vs_external_invalidate(self, spec: Any) -> None:
        super()._check_race_load_vs_external_invalidate(_Patient(spec))

    def _check_race_external_invalidate_vs_disconnect(self, spec: Any) -> None:
        super()._check_race_external_invalidate_vs_disconnect(_Patient(spec))
