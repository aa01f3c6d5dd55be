"""What a daemon prints and logs has no password in it, and no verifier of one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import zeotwisted
from zeotwisted.access import verifier, write_accounts
from zeotwisted.config import check_server_config
from zeotwisted.exceptions import AccessDenied

from .conftest import Running, daemon, folder, run
from .test_checking import check, zeo

__all__ = ["daemon", "folder", "run"]

NEEDLE = "n33dle"

CONF = """\
<zeo>
  address ./zeo
  accounts accounts
  <access>
    write user:anna
  </access>
</zeo>
<mappingstorage>
</mappingstorage>
"""


def accounts(folder: Path) -> list[str]:
    """Make the accounts; return what nobody may see."""
    secret = verifier(NEEDLE, 4096)
    write_accounts(str(folder / "accounts"), {"anna": secret})
    return [NEEDLE, *str(secret).split("$")[-1].split(":"), str(secret)]


@pytest.mark.parametrize("form", [[], ["--log-json"]])
def test_the_log(folder: Path, daemon: Callable[..., Running], form: list[str]) -> None:
    secrets = accounts(folder)
    (folder / "zeo.conf").write_text(CONF.replace("./zeo", f"{folder}/zeo"))
    running = daemon("-C", "zeo.conf", "--log-level", "debug", *form)
    for user in ("anna", "ben"):
        for password in (NEEDLE, NEEDLE + "x"):
            with contextlib.suppress(AccessDenied):
                zeotwisted.ClientStorage(
                    running.address, username=user, password=password, client_label="zope"
                ).close()
    # The daemon reads the file again, and finds a password in place of a verifier.
    (folder / "accounts").write_text(f"anna:{NEEDLE}\n")
    with contextlib.suppress(AccessDenied):
        zeotwisted.ClientStorage(running.address, username="anna", password=NEEDLE).close()
    running.stop()
    assert "could not log in as 'anna'" in running.output
    assert "accounts, line 1: no SCRAM-SHA-256 verifier" in running.output
    assert not [secret for secret in secrets if secret in running.output]
    if form:
        assert json.loads(running.output.splitlines()[-1])["message"]


def test_the_configuration_that_is_shown(folder: Path) -> None:
    secrets = accounts(folder)
    (folder / "zeo.conf").write_text(CONF)
    code, lines = zeo(folder, "-C", "zeo.conf", "--show-config")
    assert code == 0
    assert "accounts accounts  # zeo.conf, line 3" in lines
    assert not [secret for secret in secrets if secret in "\n".join(lines)]


@pytest.mark.parametrize("text", [f"anna:{NEEDLE}\n", f"anna {NEEDLE}\n", f"{NEEDLE}\n"])
def test_mistakes_in_the_accounts(folder: Path, text: str) -> None:
    (folder / "accounts").write_text(text)
    code, (line,) = check(folder, CONF)
    assert code == 1
    assert "accounts, line 1: " in line
    assert NEEDLE not in line


@pytest.mark.parametrize(
    "line",
    [
        f"password = {NEEDLE}",
        f"password={NEEDLE}",
        f"password: {NEEDLE}",
        f'password "{NEEDLE}"',
        f"password {NEEDLE} # old",
        f"password a${NEEDLE}",
        f"password ${{{NEEDLE}}}",
        f"password a\n    password {NEEDLE}",
        f"pasword {NEEDLE}",
        f"passwd {NEEDLE}",
        f"secret-of-ours {NEEDLE}",
        f"dsn = dbname='zodb' password='{NEEDLE}'",
    ],
)
def test_mistakes_in_a_configuration(folder: Path, line: str) -> None:
    client = (
        f"<clientstorage 2>\n    server 127.0.0.1:1\n    username a\n    {line}\n</clientstorage>\n"
    )
    path = folder / "zeo.conf"
    path.write_text(
        "%import zeotwisted\n" + CONF.replace("accounts accounts", "accounts x") + client
    )
    _, mistakes = check_server_config(path)
    assert mistakes
    assert NEEDLE not in "\n".join(mistakes)
