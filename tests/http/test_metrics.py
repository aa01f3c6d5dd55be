"""``/metrics``, read by Prometheus' own parsers."""

from __future__ import annotations

import time
from typing import Any

import pytest
import transaction
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from ZODB.MappingStorage import MappingStorage

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.storageserver.conftest import RawClient
from zeotwisted.access import EVERYBODY, Access
from zeotwisted.protocol import Role

from .support import Web, web

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def values(text: str, parse: Any = plain) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the samples by name and values of labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def work(site: Web) -> None:
    db = zeotwisted.DB(site.served.address)
    connection = db.open()
    for number in range(3):
        connection.root()["x"] = number
        transaction.commit()
    connection.close()
    db.close()


@pytest.mark.parametrize(("accept", "parse"), [("text/plain", plain), (OPENMETRICS, openmetrics)])
def test_both_formats_can_be_parsed(accept: str, parse: Any) -> None:
    with web() as site:
        work(site)
        status, headers, body = site.get("/metrics", accept=accept)
        assert status == 200
        assert headers["content-type"].startswith(accept.partition(";")[0])
        found = values(body, parse)
        assert found["zeo_commits_total", ("1",)] == 4, "one made the root object"
        assert found["zeo_storage_up", ("1",)] == 1
        assert found["zeo_call_duration_seconds_count", ("tpc_finish",)] == 4
        assert found["zeo_call_duration_seconds_bucket", ("tpc_finish", "+Inf")] == 4
        assert 0 < found["zeo_call_duration_seconds_sum", ("tpc_finish",)] < 60
        assert found["zeo_commit_lock_hold_seconds_count", ("1",)] == 4
        assert abs(found["zeo_last_transaction_timestamp_seconds", ("1",)] - time.time()) < 60
        assert found["zeo_limit_max", ("message-memory",)] == 2**30
        assert found["zeo_verifications_total", ("too_old", "1")] == 0
        assert found["process_resident_memory_bytes", ()] > 2**20


def test_the_conventions_of_prometheus() -> None:
    with web() as site:
        work(site)
        body = site.get("/metrics", accept=OPENMETRICS)[2]
        for family in openmetrics(body):
            assert family.documentation and family.documentation[0].isupper(), family
            assert family.documentation.endswith("."), family
            assert family.type != "unknown"
            if family.type == "counter":
                assert {each.name for each in family.samples} <= {f"{family.name}_total"}
            for unit in ("milli", "micro", "kilo", "mega", "percent", "minutes", "kb"):
                assert unit not in family.name


def test_labels_are_bounded_whatever_clients_send() -> None:
    with web() as site:
        for number in range(5):
            client = RawClient(site.served.address)
            with pytest.raises(Exception, match="unknown storage"):
                client.ask("register", f"storage {number}", True)
            client.close()
        for number in range(5):
            client = RawClient(site.served.address)
            client.ask("register", "1", True)
            client.socket.sendall(client.session.oneway("set_client_label", f"label{number}"))
            client.ask("ping")
            client.close()
        text = site.get("/metrics")[2]
        assert values(text)["zeo_refusals_total", ("unknown_storage",)] == 5
        assert "label1" not in text and "storage 1" not in text


def test_an_answer_is_shared_for_a_second() -> None:
    with web() as site:

        def accepted() -> float:
            zeotwisted.client(site.served.address).close()
            return values(site.get("/metrics")[2])["zeo_connections_accepted_total", ()]

        # Each one is of another client, so the same number twice is the same answer.
        found = [accepted() for _ in range(10)]
        assert len(set(found)) < len(found)
        wait_until("it is made again", lambda: accepted() > found[-1])


def test_only_the_storages_that_a_visitor_may_read() -> None:
    access = Access({}, {"open": {Role.READ: frozenset({EVERYBODY})}})
    with web({"open": MappingStorage(), "secret": MappingStorage()}, access) as site:
        body = site.get("/metrics")[2]
        assert '"open"' in body and "secret" not in body


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=nonsense",
        "application/openmetrics-text; version=1.0.99999999999999999999",
        "application/openmetrics-text;q=0.5;escaping=nonsense,text/plain;version=x;q=0.1",
        "text/plain; version=nonsense",
        "image/png",
        "",
        "," * 1000,
        "\x00",
    ],
)
def test_nonsense_in_the_header(accept: str) -> None:
    with web() as site:
        status, headers, body = site.get("/metrics", accept=accept)
        assert status in (200, 400)
        kind = headers.get("content-type", "")
        assert "nonsense" not in kind and "999" not in kind
        if status == 200:
            parse = openmetrics if "openmetrics" in kind else plain
            assert values(body, parse)


def test_a_new_header_does_not_make_new_work() -> None:
    with web() as site:

        def accepted(number: int) -> float:
            zeotwisted.client(site.served.address).close()
            body = site.get("/metrics", accept=f"text/plain;version=1.0.{number}")[2]
            return values(body)["zeo_connections_accepted_total", ()]

        found = [accepted(number) for number in range(10)]
        assert len(set(found)) < len(found)


def test_what_is_not_known_is_left_out() -> None:
    with web() as site:
        found = values(site.get("/metrics")[2])
        assert ("zeo_last_transaction_timestamp_seconds", ("1",)) not in found
        assert ("zeo_pack_start_timestamp_seconds", ("1",)) not in found
        assert found["zeo_packs_running", ("1",)] == 0
