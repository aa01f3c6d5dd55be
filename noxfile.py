"""Commands for those who work on this package: ``nox --list`` names them."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "quick"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

#: Tests without daemons in processes of their own, and without waiting.
QUICK = ["tests/test_imports.py", "tests/arguments", "tests/config", "tests/logs"]
QUICK += ["tests/protocol", "tests/transport", "tests/clientstorage/records"]
QUICK += ["tests/clientstorage/commit", "tests/storageserver/storage"]


def _install(session: nox.Session, extra: str = "test") -> None:
    # Without this mode, twistd would not find the plugin in other folders.
    session.install("--config-settings", "editable_mode=compat", "-e", f".[{extra}]")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format; ``nox -s lint -- --fix`` mends what can be mended."""
    session.install("ruff")
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the annotations."""
    _install(session)
    session.run("mypy")


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that take less than a minute."""
    _install(session)
    session.run("python", "-m", "pytest", "-q", "-n", "auto", *QUICK, *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into the folder ``site``, without a warning."""
    _install(session, "docs")
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "site")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, with each Python that is installed."""
    _install(session, "test,docs")
    session.run("python", "-m", "pytest", "-q", "-n", "auto", *session.posargs)


@nox.session
def fidelity(session: nox.Session) -> None:
    """Run ZEO's own tests with one of its ends replaced by ours."""
    _install(session)
    session.run("python", "-m", "pytest", "-q", "-n", "auto", "-m", "fidelity", "tests/fidelity")


@nox.session(venv_backend="none")
def everything(session: nox.Session) -> None:
    """Run all that has to hold before a change is merged, in environments of its own."""
    session.run("bash", ".ci/run", external=True)
