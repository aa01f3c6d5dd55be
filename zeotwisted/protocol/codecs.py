"""Messages to bytes and back, in ZEO's two encodings.

A message is the tuple ``(id, flag, name, args)``. ``docs/reference/protocol.rst`` specifies each
part.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

import msgpack

from . import frequent, pickles
from .bounds import ANY, FEW, Allowance, check_key, check_msgpack

__all__ = ["CODECS", "LONG", "Codec", "EncodeError", "Message", "MessageId", "UndecodableMessage"]

#: A number, or a pair of byte strings: stock clients use the arguments of ``loadBefore`` as its id.
MessageId: TypeAlias = "int | tuple[bytes, bytes]"

#: ``(id, flag, name, args)``
Message: TypeAlias = "tuple[MessageId, int, str, Any]"

#: An argument of at least this length (bytes) becomes a piece of its own, to avoid a copy. Its
#: length does not fit into 16 bits, so msgpack encodes it with a 32-bit length.
LONG = 65536
_BIN32 = Struct(">BI")


class UndecodableMessage(ValueError):
    """The bytes of a frame are not a message."""


class EncodeError(ValueError):
    """A value cannot be sent."""


class Codec(NamedTuple):
    """One encoding. All functions may be called from any thread."""

    #: The letter of this encoding in the handshake.
    letter: bytes
    #: Raises `EncodeError`.
    encode: Callable[[Message], bytes]
    #: Raises `UndecodableMessage`. An optional `Allowance` limits the number of values.
    decode: Callable[..., Message]
    #: Encodes ``(id, 0, "loadBefore", (oid, tid))`` faster than `encode`. The id must fit into 31
    #: bits; oid and tid must have eight bytes each.
    encode_load: Callable[[int, bytes, bytes], bytes]
    #: Like `encode`, but returns a list of pieces. With msgpack, each long argument is a piece of
    #: its own and is not copied.
    encode_pieces: Callable[[Message], list[bytes]]


def _encode_pickle(message: Message) -> bytes:
    try:
        return pickles.dumps(message)
    except pickles.PickleError as error:
        raise EncodeError(str(error)) from error


def _decode_pickle(data: bytes | bytearray, allowance: Allowance = ANY) -> Message:
    message: Message | None = frequent.read(data)
    if message is not None:
        return message
    try:
        return _message(pickles.loads(data, allowance))
    except pickles.PickleError as error:
        raise UndecodableMessage(str(error)) from error


def _encode_pickle_pieces(message: Message) -> list[bytes]:
    return [_encode_pickle(message)]


def _encode_msgpack(message: Message) -> bytes:
    try:
        return msgpack.packb(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(str(error)) from error


def _encode_msgpack_pieces(message: Message) -> list[bytes]:
    id, flag, name, args = message
    pieces: list[bytes] = []
    packer = msgpack.Packer(autoreset=False)
    try:
        packer.pack_array_header(4)
        for value in (id, flag, name):
            packer.pack(value)
        packer.pack_array_header(len(args))
        for value in args:
            if type(value) is bytes and LONG <= len(value) < 2**32:
                pieces += (packer.bytes() + _BIN32.pack(0xC6, len(value)), value)
                packer.reset()
            else:
                packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(str(error)) from error
    pieces.append(packer.bytes())
    return pieces


def _decode_msgpack(data: bytes | bytearray, allowance: Allowance = ANY) -> Message:
    try:
        # The fast path. Most messages have few values, and only strings or bytes as keys.
        if len(data) <= allowance.short:
            message = _unpack(
                data,
                use_list=False,
                max_array_len=allowance.array,
                ext_hook=_extension,
                timestamp=1,
            )
        else:
            message = _few(data)
    except _MALFORMED:
        # Too many values for the fast path, other keys, or not a message at all.
        message = _many(data, allowance)
    return _message(message)


_unpack = msgpack.unpackb
_MALFORMED = (ValueError, TypeError, RecursionError, msgpack.UnpackException)


def _few(data: bytes | bytearray) -> Any:
    """Unpack a long message that has at most `FEW` values.

    :raises ValueError: there are more.
    """
    left = FEW

    def count(values: tuple[Any, ...] | dict[Any, Any]) -> Any:
        nonlocal left
        # One more for the container itself: a message may consist of empty containers.
        left -= 1 + len(values)
        if left < 0:
            raise ValueError("too many")
        return values

    return _unpack(
        data,
        use_list=False,
        max_array_len=FEW,
        max_map_len=FEW,
        list_hook=count,
        object_hook=count,
        ext_hook=_extension,
        timestamp=1,
    )


def _many(data: bytes | bytearray, allowance: Allowance) -> Any:
    """Unpack any message, after counting its values.

    :raises UndecodableMessage: it is malformed, or has too many values.
    """
    try:
        check_msgpack(data, allowance)
        # msgpack itself limits nesting to 1024 levels.
        return _unpack(data, use_list=False, strict_map_key=False, object_pairs_hook=_map)
    except _MALFORMED as error:
        # Not repr(error): it may contain the whole message.
        raise UndecodableMessage(f"malformed msgpack: {type(error).__name__}: {error}") from error


def _extension(code: int, data: bytes) -> Any:
    raise ValueError(f"values of the extension type {code} do not occur")


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    # The extension of a transaction may have numbers as keys, which strict_map_key would refuse.
    return {check_key(key): value for key, value in pairs}


_MSGPACK_LOAD = Struct(">2sI15s8s2s8s")


def _msgpack_load(id: int, oid: bytes, tid: bytes) -> bytes:
    return _MSGPACK_LOAD.pack(
        b"\x94\xce", id, b"\x00\xaaloadBefore\x92\xc4\x08", oid, b"\xc4\x08", tid
    )


def _message(value: object) -> Message:
    if type(value) is tuple and len(value) == 4:
        id, flag, name, args = value
        if (type(id) is int or _is_pair(id)) and type(name) is str and flag in (0, 1, 2):
            return value if type(flag) is int else (id, int(flag), name, args)
    raise UndecodableMessage("not a tuple (id, flag, name, args)")


def _is_pair(id: object) -> bool:
    return type(id) is tuple and len(id) == 2 and type(id[0]) is bytes and type(id[1]) is bytes


#: The encodings by their letters.
CODECS = {
    codec.letter: codec
    for codec in (
        Codec(b"Z", _encode_pickle, _decode_pickle, frequent.pickled_load, _encode_pickle_pieces),
        Codec(b"M", _encode_msgpack, _decode_msgpack, _msgpack_load, _encode_msgpack_pieces),
    )
}
