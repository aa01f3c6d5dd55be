"""What a storage counts, and its report of all that was counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from .connection import Link

__all__ = ["ClientFigures"]


@dataclass
class ClientFigures:
    """The counts of a storage since it was opened, or since a fork.

    Threads count without a lock, so that a count may miss a few.
    """

    #: Records that were not in the cache, and were asked for one at a time.
    loads: int = 0
    #: Records that were stored, in transactions of any outcome.
    stores: int = 0
    commits: int = 0
    aborts: int = 0
    #: Votes that failed because of a conflict.
    conflicts: int = 0
    #: How often a server was found, and lost.
    connections: int = 0
    disconnections: int = 0

    def report(
        self, link: Link, ahead: tuple[int, int], cache: dict[str, int], cache_size: int
    ) -> dict[str, int]:
        """Return all counts, also those of the connection and of the cache.

        :param ahead: how many records came that were not asked for, and how many were used.
        :param cache: the counts of the cache.
        :param cache_size: how many bytes the cache may have.
        """
        report: dict[str, int] = asdict(self)
        connection = link.connection
        if connection is not None:
            traffic = connection.traffic
            report |= {
                "round_trips": traffic.round_trips,
                "bytes_sent": traffic.bytes_sent,
                "bytes_received": traffic.bytes_received,
            }
            for outcome, count in connection.verifications.items():
                report[f"verified_{outcome.value}"] = count
        report["ahead_records"], report["ahead_used"] = ahead
        report["connected"] = int(link.ready is not None)
        report |= {f"cache_{name}": value for name, value in cache.items()}
        report["cache_limit"] = cache_size
        return report
