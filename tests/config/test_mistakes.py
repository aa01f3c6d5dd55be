"""All mistakes of a configuration are found, and none that only follows from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from zeotwisted.config import ConfigurationError, check_server_config, read_server_config

#: A configuration with mistakes of every kind. Behind each line with a mistake is a text that the
#: message must contain. It is removed before the check.
MANY = """\
%define HERE /nowhere
%import nosuch.package                | install that package
%define AGAIN $MISSING                | 'MISSING'
<zeo>
  address 127.0.0.1:70000             | port from 0 to 65535
  transaction-tmeout 30               | write transaction-timeout
  invalidation-queue-size many        | write a whole number
  spool-dir /no/such/dir              | create the directory
  realm $UNDEFINED                    | 'UNDEFINED'
  <ssl>                               | no authenticate
    certificate /no/such/cert.pem     | is no file
  </ssl>
  <access>
    wirte user:zope                   | write write
    read nobody:x                     | 'nobody:x'
    pack group:backup                 | <group backup>
  </access>
  <access 9>                          | no storage of that name
    write user:zope
  </access>
  <listen>
    address zeo.example               | not an address
    <ssl>                             | no certificate
    </ssl>
  </listen>
  <listen>
  </listen>                           | add a line that begins with address
</zeo>
<eventlog>
  <logfile>                           | the folder /no/such does not exist
    path /no/such/zeo.log
    level loud                        | 'loud'
  </logfile>
</eventlog>
<filestorge 1>                        | write <filestorage>
  path /no/such/dir/Data.fs
</filestorge>
<otherstorage package>
  path x
</otherstorage>
<filestorage again>
  path $AGAIN/Data.fs
</filestorage>
<filestorage 2>
  path = Data2.fs                     | write path Data2.fs
  blob-dir /proc/none/blobs           | blob-dir:
  pack-gc maybe                       | write on or off
<filestorage temp>                    | <filestorage> of line 44 is not closed
  path $HERE/Temp.fs                  | /nowhere/Temp.fs
</filestorage>
<demostorage within>
  <filestorage>
    blob-dir blobs
  </filestorage>                      | add a line that begins with path
</demostorage>
colour red                            | move the line into the section
"""

GOOD = """\
%define NAME zope
%import zeotwisted
<zeo>
  address 127.0.0.1:0
  transaction-timeout 30
  <access>
    read everybody
    write group:all
  </access>
  <group all>
    member user:$NAME
  </group>
  <listen>
    address 127.0.0.1:0
  </listen>
</zeo>
<eventlog>
  <logfile>
    path STDOUT
  </logfile>
</eventlog>
<demostorage 1>
  <filestorage base>
    path Data.fs
  </filestorage>
  <mappingstorage changes/>
</demostorage>
<filestorage 2>
  path Other.fs
</filestorage>
"""


def check(folder: Path, text: str) -> list[str]:
    """Return the mistakes, without the name of the file."""
    path = folder / "zeo.conf"
    path.write_text(text)
    return [each.removeprefix(f"{path}, ") for each in check_server_config(path)[1]]


def test_many(tmp_path: Path) -> None:
    lines = [line.partition(" | ") for line in MANY.splitlines()]
    found = check(tmp_path, "\n".join(text.rstrip() for text, _, _ in lines))
    expected = [(f"line {number}: ", word) for number, (_, _, word) in enumerate(lines, 1) if word]
    assert [each[: len(start)] for each, (start, _) in zip(found, expected, strict=True)] == [
        start for start, _ in expected
    ]
    for each, (_, word) in zip(found, expected, strict=True):
        assert word in each
        assert "; " in each


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # What follows from a line that was left out is no mistake of its own.
        ("path Other.fs", "path /no/Other.fs", ["line 29: path: "]),
        ("path Other.fs", "pth Other.fs", ["line 29: 'pth' is not"]),
        ("<group all>", "<group all", ["line 10: malformed"]),
        ("member user:$NAME", "member nobody", ["line 11: member: "]),
        ("%define NAME zope", "%define NAME $NONE", ["line 1: "]),
        ("</access>", "</acces>", ["line 9: <access> of line 6 is not closed"]),
        ("  </access>\n", "", ["line 9: <access> of line 6 is not closed"]),
        ("</zeo>\n", "", ["line 16: <zeo> of line 3 is not closed"]),
        ("</zeo>", "</zoe>", ["line 16: <zeo> of line 3 is not closed"]),
        ("<zeo>", "<zoe>", ["line 3: unknown type name: 'zoe'; correct"]),
        (
            "  path Other.fs\n</filestorage>\n",
            "  path Other.fs",
            ["line 29: <filestorage> of line 28"],
        ),
        ("<filestorage 2>", "<filestorage>", ["line 28: a storage without a name is named 1"]),
        ("<demostorage 1>", "<demostorage 2>", ["line 30: section names must not be re-used"]),
    ],
)
def test_single(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    assert check(tmp_path, GOOD) == []
    found = check(tmp_path, GOOD.replace(old, new))
    assert [each[: len(start)] for each, start in zip(found, expected, strict=True)] == expected


CHANGES = {
    "without": lambda line: "",
    "twice": lambda line: f"{line}\n{line}",
    "garbled": lambda line: line[:-2],
    "unknown": lambda line: line.replace("<", "<x").replace("<x/", "</x") + " y",
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_line(tmp_path: Path, change: str) -> None:
    """Whatever is wrong: the check ends, and its mistakes include the one that stops a daemon."""
    lines = GOOD.splitlines()
    for index, line in enumerate(lines):
        text = "\n".join([*lines[:index], CHANGES[change](line), *lines[index + 1 :]])
        found = check(tmp_path, text)
        path = tmp_path / "zeo.conf"
        try:
            read_server_config(path)
        except ConfigurationError as error:
            assert str(error).removeprefix(f"{path}, ") in found
        else:
            assert found == []
        assert len(found) <= 5, (text, found)
