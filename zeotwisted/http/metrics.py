"""The figures of a server for Prometheus, read when it asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from zeotwisted.storageserver import Histogram, ServerReport, StorageReport

__all__ = ["Figures", "chosen_format", "exposition"]

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"

#: Counters of storages: name, help, and where the value is.
_COUNTERS: Sequence[tuple[str, str, Callable[[StorageReport], float]]] = (
    ("zeo_loads", "Records that clients have loaded.", lambda each: each.stats.loads),
    ("zeo_stores", "Records that clients have stored.", lambda each: each.stats.stores),
    ("zeo_commits", "Transactions that were committed.", lambda each: each.stats.commits),
    ("zeo_aborts", "Transactions that were aborted.", lambda each: each.stats.aborts),
    ("zeo_undos", "Transactions that clients wanted to undo.", lambda each: each.stats.undos),
    (
        "zeo_conflicts_resolved",
        "Conflicts that were resolved, here or by the client.",
        lambda each: each.stats.conflicts_resolved,
    ),
    (
        "zeo_conflicts_unresolved",
        "Transactions that failed because of a conflict.",
        lambda each: each.stats.conflicts,
    ),
    (
        "zeo_record_cache_hits",
        "Records that were sent from memory, without asking the storage.",
        lambda each: each.cache.hits,
    ),
    (
        "zeo_blob_sent_bytes",
        "Bytes of blobs that clients have read.",
        lambda each: each.stats.blob_bytes_sent,
    ),
    (
        "zeo_blob_received_bytes",
        "Bytes of blobs that clients have sent.",
        lambda each: each.stats.blob_bytes_received,
    ),
)

#: The same for gauges. A value that is not known is left out.
_GAUGES: Sequence[tuple[str, str, Callable[[StorageReport], float | None]]] = (
    (
        "zeo_storage_up",
        "Whether the storage can be used: 1, or 0.",
        lambda each: float(not each.problem),
    ),
    ("zeo_storage_size_bytes", "The size of the storage.", lambda each: each.size),
    ("zeo_storage_objects", "How many objects the storage has.", lambda each: each.objects),
    (
        "zeo_last_transaction_timestamp_seconds",
        "The time of the last transaction, in seconds since the epoch.",
        lambda each: each.last_transaction,
    ),
    ("zeo_clients", "Clients that use the storage.", lambda each: each.connections),
    (
        "zeo_active_transactions",
        "Transactions that have begun and are not over.",
        lambda each: each.stats.active_txns,
    ),
    (
        "zeo_commit_lock_holders",
        "Transactions that hold the commit lock.",
        lambda each: len(each.lock.holders),
    ),
    (
        "zeo_commit_lock_waiting",
        "Transactions that wait for the commit lock.",
        lambda each: len(each.lock.waiting),
    ),
    (
        "zeo_commit_lock_held_seconds",
        "How long the commit lock has been held by its present holder; 0 if there is none.",
        lambda each: max((turn.seconds for turn in each.lock.holders), default=0.0),
    ),
    (
        "zeo_invalidation_queue_transactions",
        "Transactions that are remembered for clients that come back.",
        lambda each: each.queue.transactions,
    ),
    (
        "zeo_invalidation_queue_bytes",
        "The memory of these transactions.",
        lambda each: each.queue.size,
    ),
    (
        "zeo_invalidation_queue_start_timestamp_seconds",
        "The time since which all transactions are remembered, in seconds since the epoch.",
        lambda each: each.queue.since,
    ),
    (
        "zeo_record_cache_records",
        "Records that are kept in memory.",
        lambda each: each.cache.records,
    ),
    (
        "zeo_record_cache_bytes",
        "The memory of these records.",
        lambda each: each.cache.size,
    ),
    (
        "zeo_standby_lag_seconds",
        "For how long the standby has not had everything that its primary has; 0 if it has.",
        lambda each: None if each.standby is None else each.standby.lag,
    ),
    (
        "zeo_standby_following",
        "Whether the standby can follow its primary: 1, or 0 if it refuses to.",
        lambda each: None if each.standby is None else float(not each.standby.problem),
    ),
    ("zeo_followers", "Standbys that acknowledge.", lambda each: each.followers.connected),
    (
        "zeo_commits_synchronous",
        "Whether commits wait for a standby: 1, or 0. Without synchronous-standby there is none.",
        lambda each: float(each.followers.synchronous) if each.followers.wanted else None,
    ),
    (
        "zeo_log_readers",
        "Clients that read the log of transactions, as backups do.",
        lambda each: len(each.readers),
    ),
    (
        "zeo_log_reader_progress_ratio",
        "Which part the one that has the most left has read.",
        lambda each: min((reader.done for reader in each.readers), default=None),
    ),
    (
        "zeo_log_reader_remaining_seconds",
        "How long the last of them will take, as far as one can tell.",
        lambda each: max(
            (reader.left for reader in each.readers if reader.left is not None), default=None
        ),
    ),
    ("zeo_packs_running", "Packs that run.", lambda each: each.packs.running),
    (
        "zeo_pack_start_timestamp_seconds",
        "When the pack that runs began, in seconds since the epoch.",
        lambda each: each.packs.since,
    ),
    (
        "zeo_pack_remaining_seconds",
        "How long the copying of the pack that runs will take, as far as one can tell.",
        lambda each: each.packs.left,
    ),
    (
        "zeo_pack_progress_ratio",
        "How much of the copying of the pack that runs is done.",
        lambda each: each.packs.done,
    ),
)


class Figures:
    """A collector of `prometheus_client`: makes metrics of a report.

    :param seen: the storages that are shown.
    """

    def __init__(self, report: ServerReport, seen: Collection[str], version: str) -> None:
        self._report = report
        self._storages = [each for each in report.storages if each.name in seen]
        self._version = version

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield InfoMetricFamily("zeo_build", "The version.", {"version": self._version})
        yield from self._of_storages()
        yield from self._of_connections()
        yield from self._of_calls()
        yield from self._of_limits()

    def _of_storages(self) -> Iterator[Metric]:
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=["storage"])
            for each in self._storages:
                counter.add_metric([each.name], value(each))
            yield counter
        for name, text, reading in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["storage"])
            for each in self._storages:
                found = reading(each)
                if found is not None:
                    gauge.add_metric([each.name], found)
            yield gauge
        verifications = CounterMetricFamily(
            "zeo_verifications",
            "Clients that came back with a cache, by what they were told.",
            labels=["storage", "outcome"],
        )
        waits = HistogramMetricFamily(
            "zeo_commit_lock_wait_seconds",
            "How long transactions waited for the commit lock.",
            labels=["storage"],
        )
        holds = HistogramMetricFamily(
            "zeo_commit_lock_hold_seconds",
            "How long transactions held the commit lock.",
            labels=["storage"],
        )
        for each in self._storages:
            for outcome, count in each.stats.verifications.items():
                verifications.add_metric([each.name, outcome.value], count)
            _add(waits, [each.name], each.lock.waits)
            _add(holds, [each.name], each.lock.holds)
        yield from (verifications, waits, holds)

    def _of_connections(self) -> Iterator[Metric]:
        report = self._report
        versions = GaugeMetricFamily(
            "zeo_connections",
            "Connections that have registered, by version of the protocol.",
            labels=["version", "encoding"],
        )
        for protocol, count in report.versions.items():
            encoding = "msgpack" if protocol[:1] == "M" else "pickle"
            versions.add_metric([protocol[1:], encoding], count)
        yield versions
        for name, text, value in (
            ("zeo_connections_unregistered", "Connections that have not.", report.unregistered),
            (
                "zeo_slow_clients",
                "Clients that do not take what they are sent, or do not answer.",
                report.slow,
            ),
            (
                "zeo_slow_client_lag_seconds",
                "How long the slowest of them has taken or answered nothing; 0: there is none.",
                report.lag,
            ),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, value in (
            ("zeo_connections_accepted", "Connections that were let in.", report.figures.accepted),
            ("zeo_clients_dropped", "Clients that were disconnected.", report.figures.dropped),
            ("zeo_health_checks", "Connections that asked for the status.", report.health_checks),
            ("zeo_probes", "Connections that ended and had not registered.", report.probes),
            ("zeo_login_failures", "Attempts to log in that failed.", report.failed_logins),
        ):
            yield CounterMetricFamily(name, text, value=value)
        refusals = CounterMetricFamily(
            "zeo_refusals", "Connections and calls that were refused.", labels=["reason"]
        )
        for reason, count in report.figures.refusals.items():
            refusals.add_metric([reason.value], count)
        yield refusals

    def _of_calls(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "zeo_call_duration_seconds",
            "How long calls took, from reading the message to writing the answer.",
            labels=["call"],
        )
        failed = CounterMetricFamily(
            "zeo_call_failures", "Calls that were answered by an exception.", labels=["call"]
        )
        for name, figures in self._report.figures.calls.items():
            if figures.seconds.count:
                _add(seconds, [name], figures.seconds)
                failed.add_metric([name], figures.failed)
        yield from (seconds, failed)

    def _of_limits(self) -> Iterator[Metric]:
        used = GaugeMetricFamily(
            "zeo_limit_used", "How much of what a limit is for is held.", labels=["limit"]
        )
        most = GaugeMetricFamily("zeo_limit_max", "How much may be held.", labels=["limit"])
        struck = CounterMetricFamily(
            "zeo_limit_reached", "How often a limit was reached.", labels=["limit"]
        )
        for key, (held, may, _, strikes) in self._report.limits.items():
            used.add_metric([key], held)
            most.add_metric([key], may)
            struck.add_metric([key], strikes)
        yield from (used, most, struck)


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    buckets = [
        ("+Inf" if bound == float("inf") else repr(bound), float(count))
        for bound, count in histogram.cumulated()
    ]
    family.add_metric(labels, buckets, sum_value=histogram.sum)


def chosen_format(accept: str) -> str:
    """Return which of two formats to use, as a header Accept.

    A visitor's own header is not used: `prometheus_client` would fail at versions that are none,
    and there would be any number of answers to keep.

    :param accept: the visitor's header.
    """
    kinds = {each.partition(";")[0].strip() for each in accept.split(",")}
    return _OPENMETRICS if _OPENMETRICS.partition(";")[0] in kinds else ""


def exposition(
    report: ServerReport, seen: Collection[str], version: str, accept: str
) -> tuple[bytes, str]:
    """Return the metrics, and their content type.

    :param accept: see `chosen_format`.
    """
    registry = CollectorRegistry(auto_describe=False)
    figures: Any = Figures(report, seen, version)
    registry.register(figures)
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
