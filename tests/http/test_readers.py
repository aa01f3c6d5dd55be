"""The page and the metrics tell how far a backup, or who else reads the log, is."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.access import EVERYBODY, Access
from zeotwisted.protocol import Role

from .support import Web, web
from .test_page import EVIL, Document

_TRANSACTIONS = 60


def fill(storage: Any) -> Any:
    """Commit transactions, of which a batch has some."""
    for number in range(_TRANSACTIONS):
        about = TransactionMetaData("", f"number {number}")
        storage.tpc_begin(about)
        storage.store(p64(number), z64, b"x" * 200_000, "", about)
        storage.tpc_vote(about)
        storage.tpc_finish(about)
    return storage


@pytest.fixture(params=["FileStorage", "another one"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Web]:
    if request.param == "FileStorage":
        storage = fill(FileStorage(str(tmp_path / "Data.fs")))
    else:
        storage = fill(MappingStorage())
    with web({"1": storage}) as made:
        yield made


@contextlib.contextmanager
def reader(site: Web, label: str) -> Iterator[Iterator[Any]]:
    """Read the log as a backup does."""
    options = {"read_only": True, "client_label": label, "wait_timeout": 10}
    with closing(zeotwisted.client(site.served.address, **options)) as client:
        yield client.read_log(z64, client.lastTransaction())


def metrics(site: Web) -> dict[str, float]:
    body = site.get("/metrics")[2]
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.name.startswith("zeo_log_reader")
    }


def readers(site: Web) -> list[Any]:
    (storage,) = site.served.ask(site.served.server.report).storages
    return list(storage.readers)


def test_how_far_it_is(site: Web) -> None:
    assert not readers(site)
    with reader(site, "a backup") as log:
        done = []
        for _ in range(3):
            for _ in itertools.islice(log, 15):
                pass
            (found,) = readers(site)
            assert "a backup" in found.client
            assert found.left == pytest.approx(found.seconds * (1 / found.done - 1))
            done.append(found.done)
        assert done == sorted(set(done)) and done[0] > 0 and done[-1] < 1
        for _ in log:
            pass
        assert not readers(site)
        assert site.served.server.served["1"].readers.report() == []


def test_it_is_on_the_page_and_in_the_metrics(site: Web) -> None:
    assert metrics(site) == {"zeo_log_readers": 0}
    assert "Nobody reads the log" in Document(site.get("/")[2]).text
    with reader(site, EVIL) as log:
        next(log)
        # Figures are kept for a second.
        wait_until("it is shown", lambda: metrics(site)["zeo_log_readers"] == 1)
        found = metrics(site)
        assert 0 < found["zeo_log_reader_progress_ratio"] < 1
        assert found["zeo_log_reader_remaining_seconds"] > 0
        wait_until("it is shown", lambda: "Nobody reads the log" in hidden(site))
        # The label is in the table of clients, too. Nothing in it is an element.
        document = Document(site.get("/")[2])
        assert document.text.count(EVIL) == 2
        assert [each.get("src") for each in document.all("script")] == ["page.js"]
        assert re.search(r"\d+%, \d+ s left", document.text)
    wait_until("it is gone", lambda: metrics(site) == {"zeo_log_readers": 0})


def hidden(site: Web) -> str:
    """Return the texts of empty tables that are not shown."""
    return " ".join(
        re.findall(r'class="nothing" data-nothing="\w+" hidden>([^<]*)', site.get("/")[2])
    )


def test_a_filestorage_is_measured_in_bytes(tmp_path: Path) -> None:
    """Its first half may be of one day, and the other of years."""
    storage = fill(FileStorage(str(tmp_path / "Data.fs")))
    with web({"1": storage}) as site, reader(site, "x") as log:
        for _ in itertools.islice(log, 30):
            pass
        # A batch has six of sixty transactions of one size, and one more was asked for.
        (found,) = readers(site)
        assert 0.45 < found.done < 0.75


def test_others_see_no_names(tmp_path: Path) -> None:
    """Who is no administrator sees that somebody reads, as he sees who holds the lock."""
    access = Access({}, {"1": {Role.READ: frozenset({EVERYBODY})}})
    with web({"1": fill(MappingStorage())}, access) as site, reader(site, "secret") as log:
        next(log)
        wait_until("it is shown", lambda: "Nobody reads the log" in hidden(site))
        text = Document(site.get("/")[2]).text
        assert "a client" in text and "secret" not in text
