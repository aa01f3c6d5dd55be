"""The tables of all calls and their arguments.

A client may send the calls in `SERVER_CALLS`, a server those in `CLIENT_CALLS`. A call that is not
in the table is an error. Arguments are checked before a storage gets them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from .bounds import FEW, Allowance
from .capabilities import are_capabilities
from .framing import MAX_FRAME
from .roles import WRITING, Role

__all__ = [
    "CLIENT_CALLS",
    "MOST_AHEAD",
    "MOST_LOADED",
    "SERVER_CALLS",
    "BadArguments",
    "Call",
    "allowance",
]

#: How many records one call may load.
MOST_LOADED = 1000

#: How many bytes of records an answer may bring that were not asked for.
MOST_AHEAD = 2**20

#: How many values a call may have if it carries an application's data, or a list of any length. In
#: a FileStorage, a transaction's extension has at most 65535 bytes.
_MANY = 2**16

#: A server's message may have _MANY_TOLD values, and one more for each _TOLD_SIZE bytes of its
#: length. On the wire an object id has ten bytes, and a value in an undo log has six on average.
_MANY_TOLD = 2**20
_TOLD_SIZE = 4

_LONGEST_SERIAL = 255

#: How many characters a reason may have that an operator gives.
_LONGEST_REASON = 200

_Kind: TypeAlias = "Callable[[Any], bool]"


#: How many bytes a message may have if it carries none of an application's data.
_SHORT = 2**16

#: The same for a call with a list of numbers, and for one with a filter of an undo log.
_SHORT_LIST = 2**20


class BadArguments(TypeError):
    """The arguments do not fit the call."""


class Call(NamedTuple):
    """One call that the peer may make."""

    name: str
    #: For each argument, a function that returns whether the value is acceptable.
    kinds: tuple[_Kind, ...]
    #: How many arguments are required; the others are optional.
    required: int
    #: Whether the caller may send it without waiting for an answer.
    oneway: bool
    #: The role that the client needs for it.
    role: Role
    #: The first version of the protocol that has this call.
    version: bytes = b"5"
    #: How many values the message may have.
    values: int = FEW
    #: The `kinds` for version 5 if they are less strict: stock servers check nothing.
    stock_kinds: tuple[_Kind, ...] = ()
    #: Whether it may be made only before the client has registered. Other calls may be made only
    #: after that.
    opening: bool = False
    #: Whether it ends the session. It may be made before the registration, and after it.
    last: bool = False
    #: How many bytes the message may have. The message of a call that a server does later stays in
    #: its memory until then.
    longest: int = MAX_FRAME
    #: Whether an operator looks at the server by it, or steers it. It changes no record, so that a
    #: client that reads only may make it.
    steers: bool = False

    @property
    def writes(self) -> bool:
        """Whether it is a part of a transaction. A client that reads only makes none of these."""
        return self.role in WRITING and not self.steers

    def check(self, args: Any, extended: bool = True) -> None:
        """Check the arguments.

        :param extended: the connection uses version 6.
        :raises BadArguments: the number or the type of the arguments is wrong.
        """
        if type(args) is not tuple or not self.required <= len(args) <= len(self.kinds):
            raise BadArguments(f"{self.name}: wrong number of arguments")
        kinds = self.kinds if extended or not self.stock_kinds else self.stock_kinds
        for kind, value in zip(kinds, args):  # noqa: B905 - the rest is optional
            if not kind(value):
                raise BadArguments(
                    f"{self.name}: {kind.__name__} was expected, not {type(value).__name__}"
                )


def oid(value: Any) -> bool:
    return type(value) is bytes and len(value) == 8


tid = oid


def tid_or_none(value: Any) -> bool:
    return value is None or tid(value)


def oid_or_none(value: Any) -> bool:
    return value is None or oid(value)


def serial(value: Any) -> bool:
    """A tid that is only compared. ZODB's tests and old code pass a str if there is no tid."""
    return value is None or (type(value) in (bytes, str) and len(value) <= _LONGEST_SERIAL)


def data(value: Any) -> bool:
    return type(value) is bytes


def data_or_none(value: Any) -> bool:
    return value is None or type(value) is bytes


def text(value: Any) -> bool:
    return type(value) is str or type(value) is bytes


def name(value: Any) -> bool:
    return type(value) is str


def reason(value: Any) -> bool:
    """A text of 200 characters at most."""
    return type(value) is str and len(value) <= _LONGEST_REASON


def integer(value: Any) -> bool:
    return type(value) is int


def integer_or_none(value: Any) -> bool:
    return value is None or type(value) is int


def number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def flag(value: Any) -> bool:
    return type(value) is bool or type(value) is int or value is None


def mapping(value: Any) -> bool:
    return type(value) is dict


def mapping_or_none(value: Any) -> bool:
    return value is None or type(value) is dict


def extension(value: Any) -> bool:
    # The stored form is bytes; clients of version 6 send it.
    return type(value) is dict or type(value) is bytes


def oids(value: Any) -> bool:
    return type(value) in (tuple, list) and all(map(oid, value))


def at_most_1000_oids(value: Any) -> bool:
    """1 to 1000 oids."""
    return oids(value) and 0 < len(value) <= MOST_LOADED


def at_most_1000_joined_oids(value: Any) -> bool:
    """0 to 1000 oids, one after the other."""
    return type(value) is bytes and not len(value) % 8 and len(value) <= 8 * MOST_LOADED


def index(value: Any) -> bool:
    """A number from 0 to 2**31 - 1."""
    return type(value) is int and 0 <= value < 2**31


def up_to_1000(value: Any) -> bool:
    """A number from 0 to 1000."""
    return type(value) is int and 0 <= value <= 1000


def up_to_a_mebibyte(value: Any) -> bool:
    """A number from 0 to 2**20."""
    return type(value) is int and 0 <= value <= MOST_AHEAD


def capabilities(value: Any) -> bool:
    return are_capabilities(value)


def integers(value: Any) -> bool:
    return type(value) in (tuple, list) and all(map(integer, value))


#: The number of a transaction on the wire; the client chooses it.
transaction = integer


def _table(*calls: Call) -> dict[str, Call]:
    return {call.name: call for call in calls}


def _call(
    role: Role, name: str, *kinds: _Kind, required: int | None = None, oneway: bool = False
) -> Call:
    return Call(name, kinds, len(kinds) if required is None else required, oneway, role)


_any = partial(_call, Role.NONE)
_read = partial(_call, Role.READ)
_write = partial(_call, Role.WRITE)
_undo = partial(_call, Role.UNDO)
_pack = partial(_call, Role.PACK)
_follow = partial(_call, Role.FOLLOW)
_administer = partial(_call, Role.ADMINISTER)
#: A call of the server's. The client does not answer it.
_push = partial(_call, Role.NONE, oneway=True)


def _short(call: Call, longest: int = _SHORT) -> Call:
    return call._replace(longest=longest)


def _steers(call: Call) -> Call:
    """Return a call of version 6 for operators."""
    return _short(call)._replace(version=b"6", steers=True)


def _stock(call: Call, *kinds: _Kind) -> Call:
    return call._replace(stock_kinds=kinds)


SERVER_CALLS = _table(
    # The opening.
    _any("capabilities", name, capabilities)._replace(version=b"6", opening=True),
    _any("authenticate", name, name)._replace(version=b"6", opening=True),
    _any("authenticate_final", name)._replace(version=b"6", opening=True),
    _any("register", name, flag)._replace(opening=True),
    # The storage as a whole.
    _any("get_info"),
    _any("lastTransaction"),
    _short(_read("getInvalidations", tid)),
    _any("server_status"),
    _any("server_limits")._replace(version=b"6"),
    _any("ping"),
    _any("set_client_label", text, oneway=True),
    # A pack is not a commit: ZEO's tools for packing register as readers.
    _short(_pack("pack", number, flag, required=1)),
    _steers(_any("pack_progress")),
    _steers(_pack("pack_room")),
    _steers(_pack("cancel_pack")),
    _steers(_read("record_oids", data_or_none, required=0)),
    # Who else uses the storage.
    _steers(_administer("server_clients")),
    _steers(_administer("server_locks")),
    _steers(_administer("disconnect_client", integer, reason)),
    # A standby and its primary.
    _short(_follow("standby_has", tid))._replace(version=b"6"),
    _steers(_administer("promote")),
    # Records.
    _short(_read("loadBefore", oid, tid)),
    _short(
        _read(
            "loadAhead",
            oid,
            tid,
            up_to_1000,
            up_to_a_mebibyte,
            up_to_1000,
            at_most_1000_joined_oids,
            up_to_1000,
        )
    )._replace(version=b"6"),
    _short(_read("loadManyBefore", at_most_1000_oids, tid))._replace(
        version=b"6", values=2 * MOST_LOADED
    ),
    _short(_read("popular_oids", index))._replace(version=b"6"),
    _short(_read("load_popular", at_most_1000_oids, tid))._replace(
        version=b"6", values=2 * MOST_LOADED
    ),
    _short(_read("used_oids", at_most_1000_joined_oids, oneway=True))._replace(version=b"6"),
    _short(_read("loadSerial", oid, tid)),
    _short(_read("getTid", oid)),
    _short(_stock(_read("history", oid, integer, required=1), oid_or_none, integer_or_none)),
    _short(_read("record_iternext", data_or_none, required=0)),
    _short(_read("sendBlob", oid, tid)),
    # The log of transactions.
    _short(_read("undoLog", integer, integer)),
    _short(
        _read("undoInfo", integer, integer, mapping_or_none)._replace(values=_MANY), _SHORT_LIST
    ),
    _short(_read("iterator_start", tid_or_none, tid_or_none)),
    _short(_read("iterator_next", integer)),
    _short(_read("iterator_record_start", integer, tid)),
    _short(_read("iterator_record_next", integer)),
    _short(_read("changes_start", tid, tid, flag))._replace(version=b"6"),
    _short(_read("changes_next", integer))._replace(version=b"6"),
    _short(_read("iterator_gc", integers, oneway=True)._replace(values=_MANY), _SHORT_LIST),
    # New objects.
    _write("new_oid"),
    _write("new_oids", integer, required=0),
    # A transaction.
    _write(
        "tpc_begin",
        transaction,
        text,
        text,
        extension,
        tid_or_none,
        text,
        required=4,
        oneway=True,
    )._replace(values=_MANY),
    _stock(
        _write("storea", oid, tid_or_none, data, transaction, oneway=True),
        oid,
        serial,
        data,
        transaction,
    ),
    _administer("restorea", oid, tid, data_or_none, tid_or_none, transaction, oneway=True),
    _stock(
        _write("deleteObject", oid, tid, transaction, oneway=True),
        oid,
        serial,
        transaction,
    ),
    _stock(
        _write("checkCurrentSerialInTransaction", oid, tid, transaction, oneway=True),
        oid,
        serial,
        transaction,
    ),
    _undo("undoa", data, transaction, oneway=True),
    _write("storeBlobStart", oneway=True),
    _write("storeBlobChunk", data, oneway=True),
    _stock(
        _write("storeBlobEnd", oid, tid_or_none, data, transaction, oneway=True),
        oid,
        serial,
        data,
        transaction,
    ),
    _stock(
        _write("storeBlobShared", oid, tid_or_none, data, name, transaction, oneway=True),
        oid,
        serial,
        data,
        name,
        transaction,
    ),
    _administer("restoreBlobEnd", oid, tid, data, tid_or_none, transaction, oneway=True)._replace(
        version=b"6"
    ),
    _short(_write("vote", transaction)),
    _short(_write("vote_within", transaction, number))._replace(version=b"6"),
    _short(_write("tpc_finish", transaction)),
    _short(_write("tpc_abort", transaction)),
    _short(_read("tpc_outcome", tid, oid_or_none))._replace(version=b"6"),
    _short(_read("tpc_committed", tid))._replace(version=b"6"),
)

CLIENT_CALLS = _table(
    _push("invalidateTransaction", tid, oids),
    _push("info", mapping),
    # Version 6: the client answers with a keep-alive.
    _push("ping"),
    # Version 6, with the capability of that name. The argument is the reason.
    _push("goodbye", name),
    # The same. It may come before the registration, too, and nothing comes after it.
    _push("dropped", name)._replace(last=True),
    _push("receiveBlobStart", oid, tid),
    _push("receiveBlobChunk", oid, tid, data),
    _push("receiveBlobStop", oid, tid),
)


def _from_client(name: str, size: int) -> int:
    call = SERVER_CALLS.get(name)
    return FEW if call is None else call.values


def _from_server(name: str, size: int) -> int:
    return _MANY_TOLD + size // _TOLD_SIZE


# The limits for a server's messages are higher: an answer may contain hundreds of records, which
# the client has requested.
_CLIENTS = Allowance(_from_client)
_SERVERS = Allowance(_from_server, short=2**19, array=4 * MOST_LOADED)


def allowance(calls: Mapping[str, Call]) -> Allowance:
    """Return the limits for the messages of a peer that may send `calls`."""
    return _CLIENTS if calls is SERVER_CALLS else _SERVERS
