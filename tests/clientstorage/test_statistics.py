"""What a client counts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import transaction
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.storageserver.served import serving
from zeotwisted.metrics import ClientStorageCollector


def test_what_happened() -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        other = zeotwisted.DB(served.address)
        before = db.storage.statistics()
        connection = db.open()
        connection.root()["x"] = 1
        transaction.commit()
        connection.root()["x"] = 2
        transaction.abort()
        after = db.storage.statistics()
        changed = {name: after[name] - before[name] for name in after}
        assert (changed["commits"], changed["stores"], changed["conflicts"]) == (1, 1, 0)
        assert changed["round_trips"] >= 2 and changed["bytes_sent"] > 100
        assert changed["bytes_received"] > 10
        wait_until("it is told", lambda: db.lastTransaction() == other.lastTransaction())
        with other.transaction() as theirs:
            theirs.root()["x"] = 3
        # What another client has changed is loaded again.
        wait_until("it is told", lambda: db.lastTransaction() == other.lastTransaction())
        connection.sync()
        assert connection.root()["x"] == 3
        later = db.storage.statistics()
        assert later["loads"] == after["loads"] + 1
        assert later["cache_invalidations"] > after["cache_invalidations"]
        assert later["cache_hits"] + later["cache_misses"] > 0
        assert 0 < later["cache_bytes"] < later["cache_limit"] == 20 * 2**20
        assert later["connected"] == later["connections"] == 1 and not later["disconnections"]
        connection.close()
        other.close()
        db.close()


def test_conflicts_and_aborts() -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        managers = [transaction.TransactionManager() for _ in range(2)]
        connections = [db.open(manager) for manager in managers]
        for number, connection in enumerate(connections):
            connection.root()["x"] = number
        before = db.storage.statistics()
        managers[0].commit()
        with pytest.raises(ConflictError):
            managers[1].commit()
        managers[1].abort()
        after = db.storage.statistics()
        assert after["conflicts"] - before["conflicts"] <= 1
        assert after["commits"] - before["commits"] == 1
        assert after["aborts"] - before["aborts"] == 1
        for connection in connections:
            connection.close()
        db.close()


def test_reconnections_and_what_became_of_the_cache(tmp_path: Path) -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        other = zeotwisted.client(served.address, client_label="other")
        with db.transaction() as connection:
            connection.root()["x"] = 1
        (number,) = [
            each.number
            for each in served.ask(served.server.connections, 9)
            if each.label == "other"
        ]
        served.ask(served.server.disconnect, number, "an operator")
        wait_until("it is back", lambda: other.statistics()["connections"] == 2)
        found = other.statistics()
        assert found["disconnections"] == 1
        verified = sum(value for name, value in found.items() if name.startswith("verified_"))
        assert verified == 2
        other.close()
        db.close()


def test_loads_that_a_thread_reads_itself_are_counted(tmp_path: Path) -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        with db.transaction() as connection:
            connection.root()["x"] = b"x" * 10_000
        with closing(zeotwisted.client(served.address)) as storage:
            before = storage.statistics()
            storage.load(b"\0" * 8)
            after = storage.statistics()
            assert after["bytes_received"] - before["bytes_received"] > 10_000
            assert after["round_trips"] - before["round_trips"] == 1
        db.close()


def test_a_cache_of_the_application_s_has_perhaps_no_counters() -> None:
    from zeotwisted.clientstorage.cache import ClientCache

    class Cache:
        """Has the methods of a cache, and nothing else."""

        def __init__(self) -> None:
            self._cache = ClientCache()

        def __getattr__(self, name: str) -> Any:
            if name in ("statistics", "used"):
                raise AttributeError(name)
            return getattr(self._cache, name)

    with serving({"1": MappingStorage()}) as served:
        storage = zeotwisted.client(served.address, cache=Cache())
        assert not [name for name in storage.statistics() if name == "cache_hits"]
        assert storage.statistics()["connected"] == 1
        registry = CollectorRegistry()
        registry.register(ClientStorageCollector({"main": storage}))
        assert b"zeo_client_commits_total" in generate_latest(registry)
        storage.close()
        assert storage.statistics()["connected"] == 0


def test_prometheus_gets_the_same() -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        registry = CollectorRegistry()
        registry.register(ClientStorageCollector({"main": db.storage}))
        text = generate_latest(registry).decode()
        samples = {
            sample.name: sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        statistics = db.storage.statistics()
        assert samples["zeo_client_commits_total"].value == statistics["commits"] == 1
        assert samples["zeo_client_commits_total"].labels == {"client": "main"}
        assert samples["zeo_client_cache_limit_bytes"].value == 20 * 2**20
        assert samples["zeo_client_connected"].value == 1
        outcomes = [
            sample.labels["outcome"]
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "zeo_client_verifications_total"
        ]
        assert {f"verified_{each}" for each in outcomes} <= set(statistics)
        # Nothing that is counted is left out.
        assert len(statistics) - len(outcomes) == len(samples) - 1
        db.close()
