"""What the pages say about settings and messages is what the source has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zeotwisted.commands import main
from zeotwisted.commands.commandline import COMMANDS
from zeotwisted.tap import Options

from .pages import ROOT

TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.rst"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built without a warning."""
    pytest.importorskip("sphinx", reason="the docs extra is not installed")
    pytest.importorskip("furo", reason="the docs extra is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "html"


def plain(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", page.read_text()))


def test_every_option_is_listed(site: Path) -> None:
    text = plain(site / "reference" / "options.html")
    # As the command itself lists them.
    options = set(re.findall(r"--[a-z][a-z-]+", Options().getUsage())) - {"--help"}
    assert len(options) > 15
    assert [option for option in options if option not in text] == []


def test_every_key_is_listed(site: Path) -> None:
    text = plain(site / "reference" / "configuration.html")
    keys = {
        key
        for schema in ("server", "clientkeys", "tlskeys")
        for key in re.findall(
            r'<(?:multi)?key name="([^"]+)"',
            (ROOT / "zeotwisted" / "config" / f"{schema}.xml").read_text(),
        )
    }
    assert len(keys) > 40
    assert [key for key in keys if not re.search(rf"\b{key}\b", text)] == []


def test_every_command_is_listed(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = plain(site / "reference" / "commands.html")
    # argparse breaks lines at dashes.
    monkeypatch.setenv("COLUMNS", "1000")
    for name in COMMANDS:
        if name == "serve":
            # Its options are those of ``twistd zeo``.
            continue
        with pytest.raises(SystemExit):
            main([name, "--help"])
        options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
        assert [option for option in {name, *options} if option not in text] == [], name


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("zeotwisted", ["DB", "connection", "client", "server", "ClientStorage"]),
        ("clientstorage", ["ClientStorage", "StorageClient", "loadBefore", "read_ahead"]),
        ("storageserver", ["StorageServer", "ServerOptions", "NotServable", "client_timeout"]),
        ("exceptions", ["ClientDisconnected", "CommitInDoubt", "ServerException"]),
        ("interfaces", ["Serving", "Closed", "StaleCache"]),
        ("metrics", ["ClientStorageCollector"]),
    ],
)
def test_the_public_names_are_described(site: Path, page: str, names: list[str]) -> None:
    text = plain(site / "reference" / "api" / f"{page}.html")
    assert [name for name in names if name not in text] == []


def test_nothing_is_fetched_by_a_page(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|link)[^>]*(?:src|href)=\"(https?:)?//")
    assert [str(page) for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


#: The pages that name modules, as folder/module.
ARCHITECTURE = [
    ROOT / "docs" / "explanation" / f"{name}.rst" for name in ("architecture", "ordering")
]


def named_modules(text: str) -> set[str]:
    """Return the modules and packages that a page names."""
    return set(re.findall(r"``([a-z]+(?:/[a-z]+)+)``", text))


def is_there(module: str) -> bool:
    parts = [ROOT / "zeotwisted" / place for place in ("", "clientstorage", "storageserver")]
    return any((part / f"{module}.py").is_file() or (part / module).is_dir() for part in parts)


def test_the_architecture_names_modules_that_are_there() -> None:
    found = {name for page in ARCHITECTURE for name in named_modules(page.read_text())}
    found -= {name for name in found if name.startswith(("tests/", "zeotwisted/"))}
    assert len(found) > 30
    assert {name for name in found if not is_there(name)} == set()
    assert not is_there("records/nowhere")


def test_each_package_is_on_the_page_for_the_architecture() -> None:
    page = ARCHITECTURE[0].read_text()
    for place in ("clientstorage", "storageserver"):
        rooms = [
            folder.parent.name for folder in (ROOT / "zeotwisted" / place).glob("*/__init__.py")
        ]
        assert rooms
        assert [room for room in rooms if f"``{place}/{room}``" not in page] == []


def terms(text: str) -> list[str]:
    """Return the messages on the page for troubleshooting."""
    return re.findall(r"(?m)^``(.*)``\n    \*Cause:\*", text)


def texts() -> str:
    """Return all texts in the source but docstrings, each on a line."""
    found = []
    for path in (ROOT / "zeotwisted").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docstrings:
                found.append(re.sub(r"%[sgr]|\{\w*\}", "…", node.value))
    return "\n".join(found)


def strange(message: str, source: str) -> list[str]:
    """Return the parts of a message that no text in the source has."""
    parts = re.split("…|: |; ", message)
    words = [part.strip(" :;,.()") for part in parts]
    return [part for part in words if len(part) > 3 and part not in source]


def test_messages_are_those_of_the_source() -> None:
    source = texts()
    messages = terms(TROUBLESHOOTING.read_text())
    assert len(messages) > 40
    assert {message: parts for message in messages if (parts := strange(message, source))} == {}


def test_a_docstring_is_no_message() -> None:
    docstring = "The server cannot listen at an address"
    assert docstring in (ROOT / "zeotwisted/storageserver/service.py").read_text()
    assert strange(docstring, texts()) == [docstring]


def test_a_message_that_is_not_in_the_source() -> None:
    assert strange("no connection to …: the moon is in the way", texts()) == [
        "the moon is in the way"
    ]


#: Functions that write warnings and errors to the log, and exceptions that users see.
_LOGS = {"warn", "warning", "error", "critical", "exception", "failure"}
_EXCEPTIONS = {
    "CacheFileError",
    "ClientDisconnected",
    "ClientStorageError",
    "HandshakeError",
    "ListeningError",
    "NotServable",
    "StartError",
    "StorageError",
    "StorageTransactionError",
    "SystemExit",
    "Unsupported",
}

#: Messages that an application cannot cause with ZODB, and reasons that no caller is told.
_INTERNAL = {
    "Duplicate tpc_begin calls for same transaction",
    "a better server was found",
    "a part of a blob without its beginning",
    "another server was chosen",
    "interrupted",
    "not the current transaction of this client",
    "not the transaction that is under way",
    "the client sends two blobs at a time",
    "the end of a blob without its beginning",
    "the search was given up",
    "this client has registered already",
    "this client is in a transaction already",
    "versions are not supported",
    "… is not a regular file",
    "… is not possible while …",
    "… is not the name of a new blob file",
    "… would wait for ever: this answers another call",
}


def said(tree: ast.AST) -> set[str]:
    """Return the messages in a source that users may see."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func).rsplit(".", 1)[-1]
        message = template(node.args[0])
        if name in _LOGS | _EXCEPTIONS and re.search("[a-z]{3}", message):
            found.add(message)
    return found


def template(node: ast.expr) -> str:
    """Return the text of an expression, with … for what is not known before it runs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sgr]|\{\w*(!r|:g)?\}", "…", node.value)
    return "…"


def explained(message: str, terms: list[str]) -> bool:
    """Return whether a message has a remedy in it, or is one of the page's."""
    if ";" in message or message in _INTERNAL or message.removeprefix("(…) ") in terms:
        return True
    parts = [part.strip(" :;,.()") for term in terms for part in re.split("…|: |; ", term)]
    return any(part in message for part in parts if len(part) > 9)


def test_every_message_is_explained() -> None:
    messages = {
        message
        for path in (ROOT / "zeotwisted").rglob("*.py")
        for message in said(ast.parse(path.read_text()))
    }
    assert len(messages) > 100
    page = terms(TROUBLESHOOTING.read_text())
    # What begins with the name of the daemon, and goes on with a message of its own.
    messages -= {"zeo: …", "zeo: http: …", "zeo: standby …: …", "zeo: storage …: …"}
    messages -= {"zeo: … …: …"}
    assert {message for message in messages if not explained(message, page)} == set()
    assert not explained("the moon is in the way", page)
    assert messages >= _INTERNAL, "there are messages that are not there any more"


def test_messages_are_found() -> None:
    source = """
_log.warning("%s: watch out", name)
raise ClientDisconnected(f"{name} is gone")
print("not a message")
"""
    assert said(ast.parse(source)) == {"…: watch out", "… is gone"}


def test_each_message_has_a_remedy() -> None:
    page = TROUBLESHOOTING.read_text()
    assert page.count("*Remedy:*") == page.count("*Cause:*") == len(terms(page))
