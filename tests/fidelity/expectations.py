"""The tests that cannot pass, and why.

The list is exact: a test that is on it must fail, and any other one must pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from .run import Outcome


class Listed(NamedTuple):
    """Tests that cannot pass for one reason."""

    reason: str
    #: Names of tests, with wild cards as in a shell.
    patterns: tuple[str, ...]
    #: Whether they pass in some environments.
    sometimes: bool = False


_EVERYWHERE = (
    Listed(
        "expects that a file without write permission cannot be written, which root can",
        ("*blob_transaction_txt",),
        sometimes=True,
    ),
)

_RACE = Listed(
    "fails if the daemon refuses a storage before the client is closed: the test reads what only "
    "formatted records of the log have",
    ("client-config_test",),
    sometimes=True,
)

_DAEMON = (
    Listed(
        "looks for ZEO's class or function inside the process of the daemon",
        (
            "test_client_credentials.ClientAuthTests.test_passing_credentials",
            "test_sync.SyncTests.test_server_sync",
        ),
    ),
    Listed("needs a daemon that speaks version 4 of the protocol", ("protocols_test",)),
    Listed(
        "asks the server for its one address (addr); ours may have several, and its event tells it",
        ("dynamic_server_ports_test",),
    ),
)

_CLIENT = (
    Listed(
        "reaches into the client's networking thread (_server)",
        (
            "testConnection.*.checkBadMessage[12]",
            "testZEO.*.checkCommitLockVote*",
            "testZEO.*.checkIteratorGCProtocol",
            "testZEO.ZRPCConnectionTests.checkCatastrophicClientLoopFailure",
            "testZEO.ZRPCConnectionTests.checkConnectionInvalidationOnReconnect",
            "invalidation-age_txt",
        ),
    ),
    Listed(
        "reaches into the client's table of iterators (_iterator_ids)",
        (
            "testZEO.*.checkIteratorExhaustionStorage",
            "testZEO.*.checkIteratorGCStorage*",
        ),
    ),
    Listed(
        "reaches into the client's cache (_cache.maxsize, _cache.contents)",
        (
            "testConfig.ZEOConfigTest.test_*",
            "testssl.SSLConfigTest.test_ssl_basic",
            "testssl.SSLConfigTest.test_ssl_hostname_check",
            "testConnection.*TimeoutTests.checkTimeoutAfterVote",
        ),
    ),
    Listed(
        "reaches into the client (_blob_cache_size, _check_trans, _call with wait)",
        ("client-config_test", "testZEO.tpc_finish_error", "zeo-fan-out_test"),
    ),
    Listed(
        "replaces the client's networking thread (_client_factory)",
        (
            "testConversionSupport.test_client_record_iternext",
            "testZEO.Test_convenience_functions.test_ZEO_client_convenience",
        ),
    ),
    Listed(
        "writes into a cache file of ZEO's",
        ("testZEO.invalidate_client_cache_entry_on_server_commit_error",),
    ),
    Listed(
        "expects ZEO's name of the logger, and its words, in the client's log",
        (
            "protocols_test",
            "drop_cache_rather_than_verify_txt",
            "testZEO.ZRPCConnectionTests.checkExceptionLogsAtError",
        ),
    ),
    Listed(
        "expects ZEO's name of the networking thread",
        ("testZEO.client_asyncore_thread_has_name",),
    ),
    Listed(
        "expects that a client whose server has gone back in time does without it; ours has "
        "refuse_older_server for that",
        ("testZEO.client_has_newer_data_than_server",),
    ),
    Listed(
        "expects other words than ours in an error",
        ("IterationTests.iterator_sane_after_reconnect",),
    ),
    Listed(
        "expects a cache file of 900 bytes; ours have at least 64 KB",
        ("testConnection.*.checkDisconnectedCacheFails",),
    ),
)

EXPECTATIONS: dict[str, tuple[Listed, ...]] = {
    "stock": (*_EVERYWHERE, _RACE),
    "daemon": (*_EVERYWHERE, _RACE, *_DAEMON),
    "client": (*_EVERYWHERE, *_CLIENT),
}


class Verdict(NamedTuple):
    """How outcomes compare to what is expected."""

    #: How many of the tests are listed.
    listed: int
    #: What is not as expected, one line or more each.
    problems: list[str]


def judge(swap: str, outcomes: Mapping[str, Outcome]) -> Verdict:
    """Compare the outcomes of tests to the list."""
    listed = 0
    problems = []
    for name, outcome in outcomes.items():
        entry = _entry(swap, name)
        listed += entry is not None
        if entry is None and not outcome.passed:
            problems.append(f"{name} fails:\n{outcome.text}")
        elif entry is not None and outcome.passed and not entry.sometimes:
            problems.append(f"{name} passes; take it off the list ({entry.reason})")
    return Verdict(listed, problems)


def unused(swap: str, names: Iterable[str]) -> list[str]:
    """Return the patterns that are the name of no test."""
    names = list(names)
    return [
        pattern
        for entry in EXPECTATIONS[swap]
        for pattern in entry.patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]


def _entry(swap: str, name: str) -> Listed | None:
    for entry in EXPECTATIONS[swap]:
        if any(fnmatchcase(name, pattern) for pattern in entry.patterns):
            return entry
    return None
