"""What is measured."""

from __future__ import annotations

from .big import BIG
from .blobs import BLOBS
from .commits import COMMITS
from .crowds import CROWDS
from .measure import Measure
from .mixed import MIXED
from .reads import READS
from .restart import RESTART

__all__ = ["MEASURES", "Measure"]

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for group in (READS, COMMITS, BIG, MIXED, BLOBS, CROWDS, RESTART)
    for measure in group
}
