"""What clients may have, each of them and all together, and how much of it they have.

`limits` has all limits of a server. A `budget` counts one thing; `shares` counts memory that is
filled before anyone can refuse, and finds the client that has to give way. `connections` decides
which connections are let in. `transactions` has what transactions take before they are voted.
`iterators` divides iterators between clients, and `descriptors` divides the descriptors of the
process. `trimming` gives memory back to the system.
Rule: this room only counts. The rooms that hold something take it from a budget, and give it back
when it is gone.
"""

from __future__ import annotations

from .budget import Budget, LimitReached, Usage
from .connections import Admission
from .descriptors import raise_descriptors
from .hosts import host_of, neighbourhood
from .iterators import NONE, IteratorCount, IteratorLimits
from .limits import Limits
from .shares import Shares
from .transactions import TransactionLimits

__all__ = [
    "NONE",
    "Admission",
    "Budget",
    "IteratorCount",
    "IteratorLimits",
    "LimitReached",
    "Limits",
    "Shares",
    "TransactionLimits",
    "Usage",
    "host_of",
    "neighbourhood",
    "raise_descriptors",
]
