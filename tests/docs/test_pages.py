"""The code blocks on the pages do what the pages say."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import zeotwisted

from .pages import PAGES, PICTURE, ROOT, Block, blocks, literal_blocks, name
from .session import Failed, Session

README = ROOT / "README.rst"

_ALL = {name(page): blocks(page.read_text(), name(page)) for page in PAGES}


@pytest.fixture
def session() -> Iterator[Session]:
    # A path below pytest's folders may be too long for a Unix socket.
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder))
        try:
            yield session
        finally:
            session.end()


@pytest.mark.parametrize("page", [page for page, found in _ALL.items() if found])
def test_all_blocks_run(page: str, session: Session) -> None:
    for block in _ALL[page]:
        if block.not_run is None:
            session.run(block)


def test_there_are_blocks_of_each_kind() -> None:
    languages = {block.language for found in _ALL.values() for block in found}
    assert languages == {"apacheconf", "diff", "ini", "python", "shell", "yaml", PICTURE}


def test_what_is_not_run_has_a_reason() -> None:
    reasons = [block.not_run for found in _ALL.values() for block in found]
    assert all(reason is None or len(reason.split()) >= 3 for reason in reasons)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_block_hides_from_the_tests(page: Path) -> None:
    assert literal_blocks(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_are_short(page: Path) -> None:
    long = [
        line
        for line in page.read_text().splitlines()
        if len(line) > 100 and not _cannot_be_broken(line)
    ]
    assert long == []


def _cannot_be_broken(line: str) -> bool:
    # A row of a table, or a term of a definition list.
    return "  " in line.strip() or line.startswith(("==", "``"))


def test_readme_is_a_page() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_links_of_the_readme() -> None:
    targets = re.findall(r"<([^<>\s]+)>`_", README.read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_wheels_have_our_version() -> None:
    found = [
        version
        for page in PAGES
        for version in re.findall(r"zeotwisted-(\d[\w.]*)-py3", page.read_text())
    ]
    assert set(found) == {zeotwisted.__version__}


def test_figures_of_the_readme_are_those_of_the_documentation() -> None:
    # Name, ZEO's figure, ours, the ratio.
    row = re.compile(r"(?m)^(\S.*?\S)  +(\S+ \S+)  +(\S+ \S+)  +(\d\.\d\d)\b")
    measured = row.findall((ROOT / "docs/explanation/performance.rst").read_text())
    shown = row.findall(README.read_text())
    assert len(shown) == 5
    assert set(shown) <= set(measured)


# What the runner would not notice does not count as tested.


def _block(language: str, text: str, **options: str) -> Block:
    return Block("a page, line 1", language, text, options)


_GOOD_CONF = "<zeo>\n  address 127.0.0.1:8100\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"
_GOOD_CLIENT = "%import zeotwisted\n<zeotwisted>\n  server 127.0.0.1:8100\n</zeotwisted>\n"

#: What is right, what is replaced in it, and by what.
_MISTAKES = [
    ("shell", "twistd -n zeo --client-timeout 60", "client-timeout", "client-timeouts"),
    ("shell", "twistd -n zeo --listen tcp:8100:interface=127.0.0.1", "tcp:", "tpc:"),
    ("shell", "twist zeo --listen tcp:8100", "--listen", "--lsiten"),
    ("shell", "mkdir -p var", "mkdir -p", "mkdir --no-such-option"),
    ("shell", "mkdir -p var && twistd zeo --version", "twistd", "twitsd"),
    ("shell", "python3 -m venv .venv", ".venv", "--no-such-option .venv"),
    ("shell", ".venv/bin/pip install .", "install", "install --no-such-option"),
    ("shell", '.venv/bin/pip install -e ".[test]"', "test", "tests"),
    ("shell", "python -m pytest -q -n auto", "-q", "--no-such-option"),
    ("shell", "python -m benchmarks --rounds 3 --tls", "--tls", "--no-such-option"),
    ("apacheconf", _GOOD_CONF, "address", "adress"),
    ("apacheconf", _GOOD_CONF, "<mappingstorage>\n</mappingstorage>\n", ""),
    ("apacheconf", _GOOD_CLIENT, "server", "severs"),
    ("apacheconf", _GOOD_CLIENT, "%import zeotwisted\n", ""),
    (
        "diff",
        "+%import zeotwisted\n <zodb_db main>\n-  <zeoclient>\n+  <zeotwisted>\n"
        "     server 1\n-  </zeoclient>\n+  </zeotwisted>\n   mount-point /\n </zodb_db>\n",
        "+%import zeotwisted\n",
        "",
    ),
    (
        "ini",
        "[a]\nzodbconn.uri = zeotwisted://127.0.0.1:8100?storage=1\n",
        "storage=1",
        "storage=2",
    ),
    ("python", "import zeotwisted\nzeotwisted.client(8100).close()\n", "client", "cleint"),
]


@pytest.mark.parametrize(("language", "text", "old", "new"), _MISTAKES)
def test_a_mistake_is_noticed(
    session: Session, language: str, text: str, old: str, new: str
) -> None:
    assert old in text
    session.run(_block(language, text))
    wait = "&wait_timeout=1" if "://" in text else ""
    with pytest.raises(Failed):
        session.run(_block(language, text.replace(old, new + wait)))


def test_a_program_beside_another_must_end_well(session: Session) -> None:
    waits = _block("python", "import sys\nprint(1, flush=True)\nsys.exit('no')\n")
    waits.beside = True
    session.run(waits)
    with pytest.raises(Failed, match="beside"):
        session.run(_block("python", "print(2)\n"))


def test_a_change_of_a_file_that_does_not_help(session: Session) -> None:
    text = (
        "<zodb_db main>\n  <zeoclient>\n    server 1\n  </zeoclient>\n  mount-point /\n</zodb_db>\n"
    )
    session.run(_block("apacheconf", text, caption="zope.conf"))
    with pytest.raises(Failed, match="another client"):
        session.run(_block("shell", "sed -i '1i %import zeotwisted' zope.conf"))


def test_blocks_are_found() -> None:
    page = """\
Text::

    literal

.. not run: no time

.. code-block:: python
   :caption: a.py

   x = 1

     y

- item

  .. run with the next program

  .. code-block:: shell

      ls
"""
    first, second = blocks(page, "p")
    assert (first.language, first.caption, first.not_run) == ("python", "a.py", "no time")
    assert first.text == "x = 1\n\n  y\n"
    assert (second.where, second.text, second.beside) == ("p, line 18", "ls\n", True)
    assert literal_blocks(page) == [1]
