"""Names that code written for ZEO uses, and exceptions that it catches."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import ZEO.Exceptions

import zeotwisted
import zeotwisted.Exceptions
from zeotwisted import exceptions

NAMES = [
    "ClientDisconnected",
    "ClientStorageError",
    "ProtocolError",
    "ServerException",
    "UnrecognizedResult",
]


def run(program: str) -> list[str]:
    """Return what `program` prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", NAMES)
def test_clauses_for_zeos_exceptions_catch_ours(name: str) -> None:
    ours, theirs = getattr(exceptions, name), getattr(ZEO.Exceptions, name)
    assert ours is not theirs
    assert issubclass(ours, theirs)
    assert issubclass(ours, exceptions.ClientStorageError)
    # But not the other way round: an error of ours is ours.
    assert not issubclass(theirs, ours)
    assert type(pickle.loads(pickle.dumps(ours("x")))) is ours


def test_a_client_that_finds_no_server() -> None:
    with pytest.raises(ZEO.Exceptions.ClientDisconnected):
        zeotwisted.client(("127.0.0.1", 1), wait_timeout=0)


def test_the_client_does_not_load_zeo() -> None:
    program = (
        "import sys, zeotwisted.clientstorage.storage, zeotwisted.storageserver.service\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] == 'ZEO'))"
    )
    assert run(program) == ["ZEO", "ZEO.Exceptions"]


def test_without_zeo() -> None:
    program = (
        "import sys; sys.modules['ZEO'] = None\n"
        "from transaction.interfaces import TransientError\n"
        "from ZODB.POSException import StorageError\n"
        "from zeotwisted.exceptions import *\n"
        f"for each in ({', '.join(NAMES)}, CommitInDoubt):\n"
        "    assert issubclass(each, ClientStorageError) and issubclass(each, StorageError)\n"
        "    print(each.__name__, issubclass(each, TransientError))\n"
    )
    words = run(program)
    assert words[0::2] == [*NAMES, "CommitInDoubt"]
    assert words[1::2] == ["True", *["False"] * 5]


def test_exceptions_by_the_name_that_zeo_has() -> None:
    assert zeotwisted.Exceptions.__all__ == exceptions.__all__
    for name in exceptions.__all__:
        assert getattr(zeotwisted.Exceptions, name) is getattr(exceptions, name)


@pytest.mark.parametrize(
    "program",
    [
        "from zeotwisted.ClientStorage import ClientStorage as found",
        "from zeotwisted import ClientStorage as found",
        "import zeotwisted; found = zeotwisted.ClientStorage",
        "import zeotwisted.ClientStorage; found = zeotwisted.ClientStorage",
        "import zeotwisted, zeotwisted.ClientStorage; found = zeotwisted.ClientStorage",
        "from zeotwisted.Exceptions import ClientDisconnected as found",
        "import zeotwisted; found = zeotwisted.Exceptions.ClientDisconnected",
        "import zeotwisted.Exceptions; found = zeotwisted.Exceptions.ClientDisconnected",
    ],
)
def test_imports(program: str) -> None:
    name = "ClientDisconnected" if "Exceptions" in program else "ClientStorage"
    assert run(f"{program}\nprint(found.__name__, type(found).__name__)")[0] == name


def test_a_daemon_does_not_load_the_client() -> None:
    program = "import sys, zeotwisted; print('zeotwisted.clientstorage' in sys.modules)"
    assert run(program) == ["False"]


def test_what_is_no_name() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        zeotwisted.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="nonsense"):
        from zeotwisted.ClientStorage import nonsense  # type: ignore[attr-defined]  # noqa: F401
