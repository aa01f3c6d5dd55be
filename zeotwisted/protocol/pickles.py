"""The part of pickle that the wire needs, and nothing else.

A pickle is a program. The standard unpickler runs whatever a peer sends: it imports modules, calls
their functions, and allocates as much memory as the pickle requests. `loads` interprets only the
opcodes that build plain data (`picklemachine`). It looks up names of classes in constant tables
(`pickleclasses`), which a message cannot change.
"""

from __future__ import annotations

import io
import pickle
from struct import error as StructError
from typing import Any

from .bounds import ANY, Allowance
from .pickleclasses import CALLABLES, INSTANCES, PickleError
from .picklemachine import Machine

__all__ = ["PickleError", "dumps", "loads"]


def loads(data: bytes | bytearray, allowance: Allowance = ANY) -> Any:
    """Return the plain value that `data` describes.

    :param allowance: limits the number of opcodes, which is about the number of values.
    :raises PickleError: `data` is cut off, malformed, too large or nested too deeply, or contains
        anything but ``None``, booleans, numbers, strings, bytes, tuples, lists, dicts, sets, and
        the classes in `pickleclasses`.
    """
    try:
        return Machine(bytes(data)).run(allowance)
    except PickleError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, StructError) as error:
        # Not repr(error): it may contain the whole message.
        raise PickleError(f"malformed pickle: {type(error).__name__}: {error}") from error


class _Pickler(pickle.Pickler):
    """Refuses objects that no peer accepts."""

    def reducer_override(self, obj: Any) -> Any:
        # The pickler calls this with the object, and then with the object's class.
        class_ = obj if isinstance(obj, type) else type(obj)
        key = (class_.__module__, class_.__qualname__)
        if key in CALLABLES or key in INSTANCES:
            return NotImplemented
        raise PickleError(f"{class_.__name__} objects cannot be sent")


def dumps(value: Any) -> bytes:
    """Return `value` as a pickle of protocol 3, the one that ZEO uses.

    :raises PickleError: `value` contains something that is not plain data.
    """
    output = io.BytesIO()
    pickler = _Pickler(output, 3)
    # No memo: messages contain no cycles, and the values that occur twice are short.
    pickler.fast = True
    try:
        pickler.dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(str(error)) from error
    return output.getvalue()
