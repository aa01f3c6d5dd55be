"""Finds the pieces that have the state of a database at a transaction."""

from __future__ import annotations

from .errors import BackupError, DamagedBackup
from .names import moment, parse_moment
from .target import Series, Target

__all__ = ["selected"]


def selected(target: Target, number: int | None, until: str | None) -> tuple[Series, bytes | None]:
    """Return a series with the pieces that are needed, and the last tid to restore.

    :param number: the series; the newest one that has the state by default.
    :param until: a tid or a time; None for all that the series has.
    :raises BackupError: there is none.
    """
    if until is None:
        return target.series(number), None
    tid = parse_moment(until)
    reasons = []
    is_damaged = False
    for candidate in reversed(target.numbers()) if number is None else [number]:
        try:
            series = target.series(candidate, tid)
        except DamagedBackup as error:
            if number is not None:
                raise
            # Another series with the state is as good.
            reasons.append(str(error))
            is_damaged = True
            continue
        reason = _why_not(series, tid)
        last = series.pieces[-1].manifest.last
        if reason is None and is_damaged and last < tid.hex():
            # The damaged one may have later transactions.
            reason = f"series {series.number} ends at {last}; choose that or an earlier one"
        if reason is None:
            return series, tid
        reasons.append(reason)
    raise BackupError(
        f"{target.name} does not have the state of {until} ({tid.hex()}): {'; '.join(reasons)}"
    )


def _why_not(series: Series, until: bytes) -> str | None:
    name = f"series {series.number}"
    wanted = until.hex()
    first = series.pieces[0].manifest.first
    if not first or wanted < first:
        return f"{name} begins at {first or 'no transaction'}; choose a later one"
    for piece in series.pieces:
        manifest = piece.manifest
        if manifest.packed_until and manifest.first <= wanted < manifest.packed_until:
            before = f"{manifest.after} or before, or " if manifest.after else ""
            return (
                f"in {name}, a pack had removed it before it was backed up; choose {before}"
                f"{manifest.packed_until} ({moment(bytes.fromhex(manifest.packed_until))}) or later"
            )
    return None
