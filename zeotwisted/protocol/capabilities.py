"""The exchange of capabilities: what two ends can do beyond version 6 itself.

Before it registers, a client sends the capabilities that it offers, and the server answers with
its own. A capability is a name with parameters. Both ends use what both have named. An end ignores
a name that it does not know, and a parameter that it does not know. So an extension of the protocol
is one more name here, and needs no new version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = [
    "AUTHENTICATE",
    "CHANGES",
    "DROPPED",
    "GOODBYE",
    "LOAD_AHEAD",
    "MARK_AT_VOTE",
    "OPERATORS",
    "SHARED",
    "STANDBY",
    "TID_AT_VOTE",
    "VOTE_WITHIN",
    "WARM_START",
    "Capabilities",
    "agreed",
    "are_capabilities",
]

#: The parameters of each capability.
Capabilities: TypeAlias = "Mapping[str, Mapping[str, Any]]"

#: The answer to ``vote`` has the tid of the transaction, and ``tpc_outcome`` reports its outcome.
TID_AT_VOTE = "tid-at-vote"

#: The answer to ``vote`` has a mark of the transaction. ``tpc_committed`` reports the tid of the
#: transaction with a mark, at any server of the same database.
MARK_AT_VOTE = "mark-at-vote"

#: Other processes commit in the same database. So a server does not know of all commits that are
#: under way.
SHARED = "shared"

#: There are the calls of standbys. Parameter of the server: ``synchronous``, whether commits wait
#: for a standby that says what it has.
STANDBY = "standby"

#: The client proves its user name with a password. Parameters of the server: ``mechanisms``, a list
#: of names; ``required``, whether clients without a user name are refused; ``realm``, a text.
AUTHENTICATE = "authenticate"

#: The server reads the log of transactions in batches, by the calls ``changes_start`` and
#: ``changes_next``.
CHANGES = "changes"

#: A server that ends the connection of this client says why by the push ``dropped``, if it can.
DROPPED = "dropped"

#: A server that stops says so by the push ``goodbye``, before it ends the connection.
GOODBYE = "goodbye"

#: The answer to a load may bring more records than the one that was asked for, by the call
#: ``loadAhead``.
LOAD_AHEAD = "load-ahead"

#: There are the calls by which operators look at a server and steer it: `Call.steers`.
OPERATORS = "operators"

#: The client can limit how long its vote waits for the commit lock, by the call ``vote_within``.
VOTE_WITHIN = "vote-within"

#: The server tells which objects clients of the same group use, and sends them: the calls
#: ``popular_oids`` and ``load_popular``. The client says what it uses by ``used_oids``. Parameter
#: of the client: ``group``, a text of at most 100 characters; without it, the group is its label.
WARM_START = "warm-start"

#: Limits for what a peer sends: how many capabilities, and how many characters a name has.
_MOST = 100
_LONGEST = 100


def are_capabilities(value: Any) -> bool:
    """Return whether a value from a peer has the form of capabilities.

    The values of the parameters are not checked: each capability checks its own.
    """
    return (
        type(value) is dict
        and len(value) <= _MOST
        and all(
            type(name) is str
            and len(name) <= _LONGEST
            and type(parameters) is dict
            and all(type(key) is str for key in parameters)
            for name, parameters in value.items()
        )
    )


def agreed(ours: Capabilities, theirs: Capabilities) -> Capabilities:
    """Return the capabilities that both ends have named, with the parameters of the other end."""
    return {name: theirs[name] for name in ours if name in theirs}
