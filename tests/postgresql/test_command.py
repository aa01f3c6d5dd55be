"""``zeotwisted postgresql setup``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.postgresql.server import PostgreSQLServer
from zeotwisted.commands import main
from zeotwisted.postgresql import check, connect, examine

relational = pytest.importorskip("tests.postgresql.relational")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def setup(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; return its exit code, and what it printed and complained."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(["postgresql", "setup", *arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capsys.readouterr()

    return run


def answered(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)


def refused(run: tuple[int, str, str], *words: str) -> None:
    """Check that it ends with 1 and one line that has all these words."""
    code, _, complaint = run
    assert code == 1
    assert complaint.count("\n") == 1 and complaint.startswith("zeotwisted")
    assert all(word in complaint for word in words), complaint


def test_it_is_installed_checked_and_removed(setup: Run, dsn: str, connection: Any) -> None:
    code, printed, _ = setup("--dsn", dsn, "--check")
    assert code == 1
    assert "the table zeotwisted_commit is missing" in printed
    code, printed, complaint = setup("--dsn", dsn, "--yes")
    assert (code, complaint) == (0, "")
    assert printed.startswith("BEGIN;\n") and "COMMIT;\n" in printed
    assert printed.endswith(": installed; commits are told\n")
    assert setup("--dsn", dsn, "--check")[0] == 0
    code, printed, _ = setup("--dsn", dsn, "--yes")
    assert code == 0 and printed.endswith(": nothing is missing; commits are told\n")
    code, printed, _ = setup("--dsn", dsn, "--undo", "--yes")
    assert code == 0 and printed.endswith(": removed\n") and "Stop the daemons" in printed
    assert setup("--dsn", dsn, "--check")[0] == 1


def test_what_is_shown_can_be_given_to_psql(setup: Run, dsn: str, connection: Any) -> None:
    _, printed, _ = setup("--dsn", dsn)
    connection.execute(printed)
    assert check(examine(connection)) == []
    # There is no terminal: nothing was asked, and nothing run.
    _, printed, complaint = setup("--dsn", dsn, "--undo")
    assert "use --yes" in complaint
    assert check(examine(connection)) == []
    connection.execute(printed)
    assert check(examine(connection)) != []


@pytest.mark.parametrize(
    ("answer", "installs"), [("y", True), ("YES", True), ("n", False), ("", False)]
)
def test_it_asks_before(
    setup: Run,
    dsn: str,
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    installs: bool,
) -> None:
    answered(monkeypatch, answer)
    code, printed, _ = setup("--dsn", dsn)
    assert code == (0 if installs else 1)
    assert ("Nothing is changed." in printed) is not installs
    assert (check(examine(connection)) == []) is installs


def test_without_a_terminal_it_does_not_ask(setup: Run, dsn: str, connection: Any) -> None:
    refused(setup("--dsn", dsn), "no terminal", "--yes", "psql")
    assert check(examine(connection)) != []


CONFIGURATION = """
%import relstorage
<zeo>
  address 127.0.0.1:0
</zeo>
{storages}
"""
RELSTORAGE = """
<relstorage {name}>
  keep-history {kept}
  <postgresql>
    driver psycopg2
    dsn {dsn}
  </postgresql>
</relstorage>
"""
MEMORY = """
<mappingstorage memory>
</mappingstorage>
"""


@pytest.fixture
def configured(tmp_path: Path, dsn: str, storage: Any, keep_history: bool) -> Callable[[str], str]:
    """Write a configuration with storages; return its path."""

    def write(storages: str) -> str:
        path = tmp_path / "zeo.conf"
        kept = str(keep_history).lower()
        storages = storages.replace("{dsn}", dsn).replace("{kept}", kept)
        path.write_text(CONFIGURATION.format(storages=storages))
        return str(path)

    return write


def section(name: str) -> str:
    return RELSTORAGE.replace("{name}", name)


def test_the_database_of_a_configuration_is_found(
    setup: Run, configured: Callable[[str], str], dsn: str
) -> None:
    path = configured(section("main") + MEMORY)
    assert setup("--config", path, "--yes")[0] == 0
    assert setup("--config", path, "--storage", "main", "--check")[0] == 0
    assert setup("--dsn", dsn, "--check")[0] == 0
    # Two storages on one database are one to be prepared.
    assert setup("--config", configured(section("main") + section("other")), "--check")[0] == 0


def test_a_configuration_without_a_choice_is_refused(
    setup: Run, configured: Callable[[str], str], dsn: str
) -> None:
    other = section("other").replace("{dsn}", dsn + " application_name=other")
    path = configured(section("main") + other)
    refused(setup("--config", path), "several databases", "--storage: main, other")
    assert setup("--config", path, "--storage", "other", "--yes")[0] == 0
    refused(setup("--config", path, "--storage", "none"), "it has main, other")
    path = configured(section("main") + MEMORY)
    refused(setup("--config", path, "--storage", "memory"), "memory is not a <relstorage>")
    refused(setup("--config", configured(MEMORY)), "no storage is a <relstorage>", "--dsn")


def test_arguments_that_do_not_fit_are_refused(setup: Run, dsn: str, tmp_path: Path) -> None:
    refused(setup(), "--dsn --config")
    refused(setup("--dsn", dsn, "--config", "zeo.conf"), "not allowed with")
    refused(setup("--dsn", dsn, "--storage", "1"), "--storage needs --config")
    refused(setup("--dsn", dsn, "--check", "--undo"), "not allowed with")
    refused(setup("--config", str(tmp_path / "none.conf")), "cannot be read", "check the path")


def test_a_database_that_cannot_be_prepared_is_refused(
    setup: Run, dsn: str, postgresql: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(setup("--dsn", dsn, "--check"), "has no tables of RelStorage; open it once")
    refused(setup("--dsn", "host=127.0.0.1 port=1", "--yes"), "cannot connect to PostgreSQL")
    refused(setup("--dsn", "host = =", "--yes"), "cannot connect to PostgreSQL", "data source")
    refused(setup("--dsn", postgresql.dsn("nowhere"), "--yes"), 'database "nowhere" does not exist')
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refused(setup("--dsn", dsn), "pip install 'zeotwisted[postgresql]'")


def test_a_role_without_rights_is_told_which_one_has_them(
    setup: Run, storage: Any, connection: Any, postgresql: PostgreSQLServer
) -> None:
    connection.execute("DROP ROLE IF EXISTS nobody")
    connection.execute("CREATE ROLE nobody LOGIN")
    theirs = postgresql.dsn(examine(connection).identity.name, "nobody")
    refused(setup("--dsn", theirs, "--yes"), "use the role zodb")
    assert setup("--dsn", postgresql.dsn(examine(connection).identity.name), "--yes")[0] == 0
    # All is there, and more SQL would not help this role.
    refused(setup("--dsn", theirs, "--yes"), "GRANT SELECT, INSERT, DELETE")
    code, printed, _ = setup("--dsn", theirs, "--check")
    assert code == 1 and "the role nobody may not use the table" in printed


def test_a_standby_is_refused(setup: Run, dsn: str, storage: Any, tmp_path: Path) -> None:
    with PostgreSQLServer() as primary, closing(connect(primary.dsn())):
        with closing(relational.open_relstorage(primary.dsn(), True)):
            pass
        with primary.standby() as standby:
            found = setup("--dsn", standby.dsn(), "--yes")
            refused(found, "this is a standby", "primary")
            assert found[1] == ""
