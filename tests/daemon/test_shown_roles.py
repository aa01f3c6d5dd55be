"""``--show-config`` prints the roles of clients, and where each comes from."""

from __future__ import annotations

from pathlib import Path

from zeotwisted.access import verifier, write_accounts

from .conftest import folder
from .test_checking import zeo

__all__ = ["folder"]

CONF = """\
<zeo>
  address 127.0.0.1:0
  accounts accounts
  realm shop
  <group backup>
    member user:night
    member "certificate:The Operator"
  </group>
  <access>
    read group:backup
    write user:zope user:admin
  </access>
  <access temp>
  </access>
  <listen>
    address ./s
    <access temp>
      administer everybody
    </access>
  </listen>
</zeo>
<filestorage>
  path Data.fs
</filestorage>
<mappingstorage temp>
</mappingstorage>
"""


def accounts(folder: Path) -> str:
    """Make a file of accounts; return what must not be shown of it."""
    secret = verifier("needle", 4096)
    write_accounts(str(folder / "accounts"), {"zope": secret})
    return str(secret)


def test_a_configuration(folder: Path) -> None:
    (folder / "zeo.conf").write_text(CONF)
    secret = accounts(folder)
    code, lines = zeo(folder, "-C", "zeo.conf", "--show-config")
    assert code == 0
    assert lines[lines.index("storage temp  # zeo.conf") + 1 :] == [
        "accounts accounts  # zeo.conf, line 3",
        "realm shop  # zeo.conf, line 4",
        'group backup "certificate:The Operator" user:night  # zeo.conf, line 6',
        "allow read group:backup  # zeo.conf, line 10",
        "allow write user:admin user:zope  # zeo.conf, line 11",
        "allow temp/nothing  # zeo.conf, line 13",
        "listen ./s allow temp/administer everybody  # zeo.conf, line 18",
    ]
    assert secret not in "\n".join(lines)


def test_without_roles(folder: Path) -> None:
    assert zeo(folder, "--show-config")[1][-1] == "allow administer everybody  # default"
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"
    )
    code, lines = zeo(folder, "-C", "zeo.conf", "--show-config")
    assert (code, lines[-1]) == (0, "allow administer everybody  # default")


def test_options(folder: Path) -> None:
    accounts(folder)
    code, lines = zeo(
        folder,
        *("--show-config", "--allow", "1/write user:zope", "--allow", "read everybody"),
        ZEO_ACCOUNTS="accounts",
        ZEO_LISTEN="unix:s",
    )
    assert code == 0
    assert lines[-5:] == [
        "listen unix:s  # environment variable ZEO_LISTEN",
        "storage 1  # options and defaults",
        "accounts accounts  # environment variable ZEO_ACCOUNTS",
        "allow 1/write user:zope  # option --allow",
        "allow read everybody  # option --allow",
    ]


def test_a_mistake_in_an_option(folder: Path) -> None:
    code, (line,) = zeo(folder, "--show-config", "--allow", "wirte user:zope")
    assert (code, line.startswith("zeo: --allow 'wirte user:zope': write ROLE NAMES")) == (1, True)
