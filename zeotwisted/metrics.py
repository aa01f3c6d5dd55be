"""The figures of clients for Prometheus, in an application that has ``prometheus_client``.

::

    from prometheus_client import REGISTRY
    from zeotwisted.metrics import ClientStorageCollector

    REGISTRY.register(ClientStorageCollector({"main": db.storage}))

It needs the package ``prometheus-client``: ``pip install 'zeotwisted[http]'``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["ClientStorageCollector"]

#: The counters: the key of `ClientStorage.statistics`, the name of the metric, and its help.
_COUNTERS = (
    ("loads", "loads", "Records that were not in the cache."),
    ("stores", "stores", "Records that were stored."),
    ("commits", "commits", "Transactions that were committed."),
    ("aborts", "aborts", "Transactions that were aborted."),
    ("conflicts", "conflicts", "Votes that failed because of a conflict."),
    ("round_trips", "round_trips", "Calls that waited for an answer of the server."),
    ("bytes_sent", "sent_bytes", "Bytes of calls that were sent."),
    ("bytes_received", "received_bytes", "Bytes that were received."),
    ("ahead_records", "ahead_records", "Records that came although nobody had asked for them."),
    ("ahead_used", "ahead_used", "Those of them that were used."),
    ("warm_records", "warm_records", "Records that a warm start has brought in."),
    ("warm_bytes", "warm_bytes", "Bytes of these records."),
    ("connections", "connections", "How often a server was found."),
    ("disconnections", "disconnections", "How often a server was lost."),
    ("cache_hits", "cache_hits", "Records that were in the cache."),
    ("cache_misses", "cache_misses", "Records that were not."),
    ("cache_stores", "cache_stores", "Records that were put into the cache."),
    ("cache_invalidations", "cache_invalidations", "Records that were invalidated."),
    ("cache_evictions", "cache_evictions", "Records that were dropped for others."),
)

#: The same for gauges.
_GAUGES = (
    ("connected", "connected", "Whether there is a connection: 1, or 0."),
    ("cache_entries", "cache_entries", "Records in the cache."),
    ("cache_bytes", "cache_size_bytes", "How much of the cache is used."),
    ("cache_limit", "cache_limit_bytes", "How much may be used."),
)

_VERIFIED = "verified_"


class ClientStorageCollector:
    """A collector: reads the figures of storages when Prometheus asks.

    :param storages: each is a `ClientStorage`, by the name that it has in the label ``client``. A
        database that wraps it, such as ``db.storage``, will do as well.
    """

    def __init__(self, storages: Mapping[str, Any]) -> None:
        self._storages = dict(storages)

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        figures = {name: storage.statistics() for name, storage in self._storages.items()}
        for key, name, text in _COUNTERS:
            counter = CounterMetricFamily(f"zeo_client_{name}", text, labels=["client"])
            for client, found in figures.items():
                if key in found:
                    counter.add_metric([client], found[key])
            yield counter
        for key, name, text in _GAUGES:
            gauge = GaugeMetricFamily(f"zeo_client_{name}", text, labels=["client"])
            for client, found in figures.items():
                if key in found:
                    gauge.add_metric([client], found[key])
            yield gauge
        verified = CounterMetricFamily(
            "zeo_client_verifications",
            "New connections, by what became of the cache.",
            labels=["client", "outcome"],
        )
        for client, found in figures.items():
            for key, value in found.items():
                if key.startswith(_VERIFIED):
                    verified.add_metric([client, key.removeprefix(_VERIFIED)], value)
        yield verified
