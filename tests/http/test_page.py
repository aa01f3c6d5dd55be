"""The page for people, as it is sent."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.storageserver.conftest import RawClient
from zeotwisted.access import EVERYBODY, Access, AccountFile, verifier, write_accounts
from zeotwisted.http.page import FILES
from zeotwisted.protocol import Role
from zeotwisted.storageserver import StandbyReport

from .support import Web, web
from .test_visitors import basic

EVIL = "<script>alert(1)</script>\"'&"


class Document(html.parser.HTMLParser):
    """What a page has: elements with their attributes, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]


def labelled(site: Web, label: str, storage: str = "1") -> RawClient:
    """Return a client that has registered, and has told its label."""
    client = RawClient(site.served.address)
    client.ask("register", storage, False)
    client.socket.sendall(client.session.oneway("set_client_label", label))
    client.ask("ping")
    return client


def test_it_has_what_an_operator_looks_for() -> None:
    with web() as site:
        holder, waiter = labelled(site, "holder"), labelled(site, "waiter")
        for client in (holder, waiter):
            about = ("anna", "a change of <prices>", {})
            client.socket.sendall(client.session.oneway("tpc_begin", 7, *about))
            client.socket.sendall(client.session.oneway("storea", p64(1), None, b"x" * 2000, 7))
        holder.ask("vote", 7)
        waiter.socket.sendall(waiter.session.call(2, "vote", 7))
        (served,) = site.served.server.served.values()
        wait_until("one waits", lambda: served.lock.waiting)
        Logger("test").warn("the disk is almost full")
        status, headers, body = site.get("/")
        assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
        text = " ".join(Document(body).text.split())
        for words in (
            "Ready",
            "holds it holder",
            "waits waiter",
            "voted, 0 s, 1 object, ",
            "(anna a change of <prices>)",
            "the disk is almost full",
            "6 msgpack",
            "Loads per second",
        ):
            assert words in text, words
        for client in (holder, waiter):
            client.close()


def test_what_clients_send_is_text() -> None:
    with web() as site:
        client = labelled(site, EVIL)
        about = (EVIL, EVIL, {})
        client.socket.sendall(client.session.oneway("tpc_begin", 7, *about))
        client.ask("ping")
        Logger("test").warn("{text}", text=EVIL)
        body = site.get("/")[2]
        document = Document(body)
        assert document.text.count(EVIL) == 4
        assert [each.get("src") for each in document.all("script")] == ["page.js"]
        names = {name for _, attributes in document.elements for name in attributes}
        assert not [name for name in names if name.startswith("on")]
        number = re.search(r"disconnect\?client=(\d+)", body)
        assert number is not None
        asked = site.get(f"/disconnect?client={number[1]}")[2]
        assert EVIL in Document(asked).text and "<script" not in asked
        client.close()


def test_nothing_from_elsewhere() -> None:
    with web() as site:
        body = site.get("/")[2]
        document = Document(body)
        for tag, attributes in document.elements:
            assert "style" not in attributes and tag != "style"
            for name in ("src", "href", "action"):
                assert not re.match(r"(\w+:|/)", attributes.get(name, "")), attributes
        for name, kind in FILES.items():
            status, headers, text = site.get(f"/{name}")
            assert (status, headers["content-type"]) == (200, kind)
            assert not re.search(r"(https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", text), name
        _, headers, _ = site.get("/")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_it_can_be_used_without_seeing_it() -> None:
    with web() as site:
        client = labelled(site, "shop")
        document = Document(site.get("/")[2])
        assert document.all("html") == [{"lang": "en"}]
        identifiers = [each["id"] for _, each in document.elements if "id" in each]
        assert len(identifiers) == len(set(identifiers))
        for attribute in ("aria-labelledby",):
            for _, each in document.elements:
                assert each.get(attribute, identifiers[0]) in identifiers
        assert all(each["aria-label"] for each in document.all("svg"))
        assert all(each["scope"] == "col" for each in document.all("th"))
        links = [each for each in document.all("a") if "disconnect" in each["href"]]
        assert [each["aria-label"] for each in links] == ["Disconnect shop…"]
        assert document.all("a")[0]["href"] == "#main"
        client.close()


def numbers(site: Web) -> dict[str, int]:
    found = site.served.ask(site.served.server.connections, 99)
    return {each.label: each.number for each in found}


def form(site: Web, number: int, **headers: str) -> str:
    """Ask for the form; return what a browser would send of it."""
    status, _, body = site.get(f"/disconnect?client={number}", **headers)
    assert status == 200, body
    fields = {each["name"]: each["value"] for each in Document(body).all("input")}
    return "&".join(f"{name}={value}" for name, value in fields.items())


def test_a_client_is_disconnected_after_a_question() -> None:
    with web() as site:
        client, other = labelled(site, "shop"), labelled(site, "other")
        number = numbers(site)["shop"]
        sent = form(site, number)
        assert set(numbers(site)) == {"shop", "other"}, "a question disconnects nobody"
        status, headers, _ = site.ask("POST", "/disconnect", sent)
        assert (status, headers["location"]) == (303, "./")
        assert client.is_dropped()
        wait_until("it has gone", lambda: set(numbers(site)) == {"other"})
        assert site.ask("POST", "/disconnect", sent)[0] == 404
        assert site.get(f"/disconnect?client={number}")[0] == 404
        client.close()
        other.close()


@pytest.mark.parametrize(
    ("change", "headers", "status"),
    [
        (lambda sent: re.sub("token=.*", "token=", sent), {}, 403),
        (lambda sent: re.sub("token=....", "token=0000", sent), {}, 403),
        (lambda sent: re.sub("&token=.*", "", sent), {}, 403),
        (lambda sent: sent, {"sec_fetch_site": "cross-site"}, 403),
        (lambda sent: sent, {"sec_fetch_site": "same-site"}, 403),
        (lambda sent: sent, {"host": "evil.example"}, 421),
        (lambda sent: re.sub(r"client=\d+", "client=99", sent), {}, 404),
        (lambda sent: re.sub(r"client=\d+&", "", sent), {}, 400),
        (lambda sent: re.sub(r"client=\d+", "client=", sent), {}, 400),
        (lambda sent: re.sub(r"client=\d+", "client=" + "9" * 5000, sent), {}, 400),
        (lambda sent: re.sub(r"client=\d+", "client=-1", sent), {}, 400),
        (lambda sent: re.sub(r"client=\d+", "client=%00", sent), {}, 400),
    ],
)
def test_a_form_of_somebody_else_disconnects_nobody(
    change: Any, headers: dict[str, str], status: int
) -> None:
    with web() as site:
        client = labelled(site, "shop")
        sent = form(site, numbers(site)["shop"])
        assert site.ask("POST", "/disconnect", change(sent), **headers)[0] == status
        assert site.ask("GET", f"/disconnect?{sent}")[0] == 200
        assert set(numbers(site)) == {"shop"}
        client.close()


@pytest.mark.parametrize("query", ["", "?", "?client", "?client=", "?client=shop", "?number=1"])
def test_a_question_about_no_client(query: str) -> None:
    with web() as site:
        status, _, body = site.get(f"/disconnect{query}")
        assert status == 400 and "/disconnect?client=NUMBER" in body and "not connected" not in body


@pytest.fixture
def accounts(tmp_path: Path) -> AccountFile:
    path = str(tmp_path / "accounts")
    names = ("reader", "keeper", "chief")
    write_accounts(path, {name: verifier("needle", 4096) for name in names})
    return AccountFile(path)


def test_what_a_role_allows(accounts: AccountFile) -> None:
    chief = frozenset({"user:chief"})
    anybody = frozenset({EVERYBODY})
    access = Access(
        {},
        {
            "a": {
                Role.WRITE: anybody,
                Role.READ: frozenset({"user:reader"}),
                Role.ADMINISTER: chief | {"user:keeper"},
            },
            "b": {Role.WRITE: frozenset({"user:reader"}), Role.ADMINISTER: chief},
        },
        accounts=accounts,
    )
    storages = {"a": MappingStorage(), "b": MappingStorage()}
    with web(storages, access) as site:
        client = labelled(site, "shop of a", "a")
        other = zeotwisted.client(
            site.served.address, storage="b", username="reader", password="needle"
        )
        Logger("test").warn("a secret of the server")
        of = {
            name: site.get("/", authorization=basic(name, "needle"))[2]
            for name in ("reader", "keeper", "chief")
        }
        assert "shop of a" not in of["reader"] and "user:reader" in of["reader"]
        assert "shop of a" in of["keeper"] and "user:reader" not in of["keeper"]
        assert "shop of a" in of["chief"] and "user:reader" in of["chief"]
        assert ["secret" in of[name] for name in of] == [False, False, True]
        assert ['data-key="b"' in of[name] for name in of] == [True, False, True]
        number = numbers(site)["shop of a"]
        url = f"/disconnect?client={number}"
        assert site.get(url, authorization=basic("reader", "needle"))[0] == 403
        theirs = max(each for each in numbers(site).values() if each != number)
        # Not even whether there is such a client.
        foreign = site.get(f"/disconnect?client={theirs}", authorization=basic("keeper", "needle"))
        nobody = site.get("/disconnect?client=999", authorization=basic("keeper", "needle"))
        assert foreign[0] == nobody[0] == 404 and foreign[2] == nobody[2]
        sent = form(site, number, authorization=basic("chief", "needle"))
        keeper = {"authorization": basic("keeper", "needle")}
        assert site.ask("POST", "/disconnect", sent, **keeper)[0] == 403, "another one's token"
        assert site.ask("POST", "/disconnect", form(site, number, **keeper), **keeper)[0] == 303
        assert client.is_dropped()
        other.close()
        client.close()


def test_who_is_elsewhere_and_nobody_administers_nothing() -> None:
    """Without accounts, everybody on this machine may; others see figures only."""
    with web() as site:
        client = labelled(site, "shop")
        Logger("test").warn("a secret of the server")
        elsewhere = {"x_forwarded_for": "192.0.2.1"}
        body = site.get("/", **elsewhere)[2]
        assert 'data-key="1"' in body and "shop" not in body and "secret" not in body
        url = f"/disconnect?client={numbers(site)['shop']}"
        assert site.get(url, **elsewhere)[0] == 403
        assert site.get(url)[0] == 200
        client.close()


def test_events_have_what_the_page_has() -> None:
    with web() as site:
        client = labelled(site, EVIL)
        with site.connect() as sock:
            sock.sendall(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            stream = sock.makefile("rb")
            found = []
            while len(found) < 2:
                line = stream.readline()
                assert line
                if line.startswith(b"data: "):
                    found.append(json.loads(line[6:]))
        first = found[0]
        body = site.get("/")[2]
        named = {each["data-text"] for _, each in Document(body).elements if "data-text" in each}
        assert named <= set(first["texts"])
        tables = {each["data-table"] for each in Document(body).all("table")}
        assert tables == set(first["tables"])
        figures = {each["data-plot"] for each in Document(body).all("figure")}
        assert figures == set(first["plots"])
        assert first["tables"]["clients"][0][1][0] == EVIL
        client.close()


def test_a_standby_is_one_in_the_table_of_storages() -> None:
    with web() as site:
        (served,) = site.served.server.served.values()

        class Following:
            def report(self) -> StandbyReport:
                return StandbyReport("zeo1:8100", "waits for the primary", "", 7.0, 60.0, "00")

            def promote(self) -> Any:
                raise AssertionError

        served.standby = Following()
        text = " ".join(Document(site.get("/")[2]).text.split())
        assert "standby of zeo1:8100: waits for the primary, 7 s behind" in text
