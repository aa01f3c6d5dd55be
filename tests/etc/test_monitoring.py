"""The dashboard and the alerts name metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ZODB
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
from ZODB.MappingStorage import MappingStorage

import zeotwisted
from tests.daemon.conftest import ROOT
from tests.http.support import web
from tests.http.test_metrics import OPENMETRICS
from tests.storageserver.conftest import RawClient

DASHBOARD = ROOT / "etc" / "grafana" / "zeo.json"
ALERTS = ROOT / "etc" / "prometheus" / "zeo-alerts.yml"
PROMETHEUS = ROOT / "etc" / "prometheus" / "prometheus.yml"

_METRIC = re.compile(r"\b(?:zeo|process)_\w+")


class _Reader(NamedTuple):
    label: str
    number: int


A_BACKUP = _Reader("a backup", 1)


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """The names of all samples of a daemon that has done something, with their labels."""
    storage = MappingStorage()
    ZODB.DB(storage)
    with web({"1": storage}) as site:
        db = zeotwisted.DB(site.served.address)
        with db.transaction() as connection:
            connection.root()["x"] = 1
        client = RawClient(site.served.address)
        client.ask("register", "1", True)
        served = site.served.server.served["1"]
        served.readers.reads(A_BACKUP, 0, 0.5)
        packs = served.packs
        packs.running, packs.copied, packs.length, packs.copying_since = 1, 5, 10, time.time()
        body = site.get("/metrics", accept=OPENMETRICS)[2]
        packs.running = 0
        client.close()
        db.close()
    return {sample.name: set(sample.labels) for family in parse(body) for sample in family.samples}


def queries(node: Any) -> Iterator[str]:
    """Yield the queries of a dashboard."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for each in node:
            yield from queries(each)


def alert_queries() -> list[str]:
    return re.findall(r"(?m)^        expr: (.*)$", ALERTS.read_text())


def test_there_are_queries() -> None:
    assert len(list(queries(json.loads(DASHBOARD.read_text())))) > 30
    assert len(alert_queries()) == ALERTS.read_text().count("- alert: ") >= 10


def test_every_metric_exists(samples: dict[str, set[str]]) -> None:
    found = list(queries(json.loads(DASHBOARD.read_text()))) + alert_queries()
    named = {name for query in found for name in _METRIC.findall(query)}
    assert len(named) > 30
    assert named - set(samples) == set()
    # A name that there is not would be found.
    assert "zeo_nothing_total" not in samples


def test_every_label_exists(samples: dict[str, set[str]]) -> None:
    found = list(queries(json.loads(DASHBOARD.read_text()))) + alert_queries()
    for query in found:
        for name, selector in re.findall(r"\b((?:zeo|process)_\w+)\{([^}]*)\}", query):
            labels = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector))
            # Prometheus itself adds these.
            assert labels - {"instance", "job"} <= samples[name] | {"le"}, query


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
@pytest.mark.parametrize("command", [("rules", ALERTS), ("config", PROMETHEUS)])
def test_prometheus_accepts_them(command: tuple[str, Path]) -> None:
    kind, path = command
    done = subprocess.run(
        ["promtool", "check", kind, path.name],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_prometheus_has_nothing_to_say_against_the_metrics() -> None:
    with web() as site:
        body = site.get("/metrics")[2]
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_samples_are_tested() -> None:
    assert {"zeo.json", "zeo-alerts.yml", "prometheus.yml"} == {
        path.name for folder in (DASHBOARD.parent, ALERTS.parent) for path in folder.iterdir()
    }
