"""What can still be had from a backup with damaged files."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ZODB.blob import is_blob_record
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, u64

from zeotwisted.backup import Losses, Target

from .conftest import Run, refused
from .databases import Database, contents

OPTION = "--allow-damaged-blobs"


def damage(path: Path) -> None:
    """Flip a bit of a file; an empty one gets a byte."""
    content = bytearray(path.read_bytes()) or bytearray(1)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def series(target: Path, number: int) -> Path:
    return target / f"series-{number:06}"


@pytest.fixture
def backup(command: Run, database: Database, target: Path) -> Path:
    """A backup with two series, the first one with two pieces."""
    for options in ((), (), ("--full",)):
        assert command("backup", *database.arguments, *options, target)[0] == 0
        database.change(3)
    return target


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_series_that_are_whole_are_listed(
    command: Run, backup: Path, tmp_path: Path, how: str
) -> None:
    whole = command("backup", "--list", backup)[1].splitlines()
    as_json = json.loads(command("backup", "--list", "--json", backup)[1])
    assert (len(whole), len(as_json)) == (3, 2)
    manifest = series(backup, 2) / "piece-000001" / "manifest.json"
    if how == "gone":
        manifest.unlink()
    else:
        damage(manifest)
    code, printed, complaint = command("backup", "--list", backup)
    assert (code, printed.splitlines()) == (1, whole[:2])
    assert complaint.startswith(f"zeotwisted: {manifest}: is ") and complaint.count("\n") == 1
    assert "another series" in complaint
    assert command("restore", "--series", "1", backup, tmp_path / "new")[0] == 0
    code, printed, complaint = command("backup", "--list", "--json", backup)
    assert (code, json.loads(printed)) == (1, as_json[:1])
    assert str(manifest) in complaint


def blobs(target: Path, number: int = 1) -> list[Path]:
    """Return the blobs of the first piece of a series."""
    return sorted((series(target, number) / "piece-000001").rglob("*.blob"))


def key(path: Path) -> tuple[str, str]:
    """Return oid and tid of a blob."""
    oid, _, tid = path.stem.partition("-")
    return oid, tid


def lost(folder: Path) -> set[tuple[str, str]]:
    """Return oid and tid of the blobs that a restored database does not have."""
    found = set()
    file, blob_dir = str(folder / "Data.fs"), str(folder / "blobs")
    with closing(FileStorage(file, read_only=True, blob_dir=blob_dir)) as storage:
        for transaction in storage.iterator():
            for record in transaction:
                if record.data and is_blob_record(record.data):
                    try:
                        storage.loadBlob(record.oid, record.tid)
                    except POSKeyError:
                        found.add((record.oid.hex(), record.tid.hex()))
    return found


def check_left_out(
    outcome: tuple[int, str, str], new: Path, database: Database, left_out: set[tuple[str, str]]
) -> None:
    """Check that a restore named some blobs, and restored all but these."""
    code, printed, complaint = outcome
    assert code == 1 and "Traceback" not in complaint, complaint
    assert "restored and compared" in printed
    assert complaint.splitlines()[-1].startswith(f"zeotwisted: {len(left_out)} blobs are left out")
    for oid, tid in left_out:
        assert complaint.count(f"the blob of object {oid}, transaction {tid}, is left out") == 1
    assert complaint.count("is left out") == len(left_out)
    assert lost(new) == left_out
    # What is there is right.
    wanted = contents_but(database, left_out)
    for oid, tid in left_out:
        assert not list(new.rglob(f"*{oid[-2:]}/0x{tid}.blob"))
    assert contents_but(database, left_out, new) == wanted


def contents_but(
    database: Database, left_out: set[tuple[str, str]], folder: Path | None = None
) -> list[Any]:
    """Return all that a database has, in the end without some blobs."""
    file = database.file if folder is None else str(folder / "Data.fs")
    blob_dir = str(database.blobs if folder is None else folder / "blobs")
    found: list[Any] = contents(file, None)
    with closing(FileStorage(file, read_only=True, blob_dir=blob_dir)) as storage:
        for transaction in storage.iterator():
            for record in transaction:
                of = record.oid.hex(), record.tid.hex()
                if record.data and is_blob_record(record.data) and of not in left_out:
                    found.append(Path(storage.loadBlob(record.oid, record.tid)).read_bytes())
    return found


@pytest.fixture
def first(command: Run, database: Database, target: Path) -> Path:
    """A backup with a series of two pieces."""
    for _ in range(2):
        assert command("backup", *database.arguments, target)[0] == 0
        database.change(3)
    assert command("backup", *database.arguments, target)[0] == 0
    return target


def test_damaged_blobs_are_left_out(
    command: Run, database: Database, first: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    one, other, another, *_ = blobs(first)
    damage(one)
    other.unlink()
    another.unlink()
    # A file that can be opened, and whose first bytes cannot be read.
    another.symlink_to("/proc/self/mem")
    refused(command("restore", first, new), ".blob", OPTION, "--until")
    assert not new.exists()
    left_out = {key(one), key(other), key(another)}
    check_left_out(command("restore", OPTION, first, new), new, database, left_out)


def test_nothing_is_damaged(command: Run, database: Database, first: Path, tmp_path: Path) -> None:
    assert command("restore", OPTION, first, tmp_path / "new")[::2] == (0, "")
    new = tmp_path / "new"
    assert contents(str(new / "Data.fs"), str(new / "blobs")) == contents(
        database.file, database.blobs
    )


def test_only_what_is_restored_is_missed(command: Run, first: Path, tmp_path: Path) -> None:
    """A damaged blob of a later transaction is not left out of an earlier state."""
    last = max(blobs(first), key=lambda path: key(path)[1])
    damage(last)
    until = f"{int(key(last)[1], 16) - 1:016x}"
    assert command("restore", first, tmp_path / "new", "--until", until)[::2] == (0, "")


@pytest.mark.parametrize("how", ["digest", "name", "cut", "repeated", "binary", "gone"])
def test_a_damaged_list(
    command: Run, database: Database, first: Path, tmp_path: Path, how: str
) -> None:
    """The lines that fit their files are used."""
    new = tmp_path / "new"
    path = series(first, 1) / "piece-000001" / "blobs.sha256"
    lines = path.read_text("ascii").splitlines(keepends=True)
    assert len(lines) > 3
    bad = 1
    changed = list(lines)
    if how == "digest":
        changed[1] = ("1" if lines[1][0] == "0" else "0") + lines[1][1:]
    elif how == "name":
        changed[1] = lines[1].replace(".blob", ".blog")
    elif how == "cut":
        changed[1:] = [lines[1][:70]]
        bad = len(lines) - 1
    elif how == "repeated":
        # As if a block of the disk had come twice.
        changed[1] = lines[3]
    elif how == "binary":
        changed[1] = "\0" * 20 + "\n"
    path.write_text("".join(changed), "ascii")
    if how == "gone":
        path.unlink()
    left_out = {
        key(Path(line.split()[1])) for line in (lines if how == "gone" else lines[1 : 1 + bad])
    }
    refused(command("restore", first, new), "blobs.sha256", OPTION)
    outcome = command("restore", OPTION, first, new)
    assert f"zeotwisted: {path}: is " in outcome[2]
    check_left_out(outcome, new, database, left_out)


def test_damaged_records_are_not_left_out(command: Run, first: Path, tmp_path: Path) -> None:
    damage(series(first, 1) / "piece-000001" / "records-000001.gz")
    refused(command("restore", OPTION, first, tmp_path / "new"), "records-000001.gz")
    assert not (tmp_path / "new").exists()


def test_a_list_of_missing_blobs(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    """It is not known any more that the source did not have a blob; so it is named."""
    gone = next(Path(str(database.blobs)).rglob("*.blob"))
    gone.unlink()
    assert command("backup", "--allow-missing-blobs", *database.arguments, target)[0] == 0
    listed = series(target, 1) / "piece-000001" / "missing-blobs.txt"
    oid, tid = listed.read_text().split()
    damage(listed)
    new = tmp_path / "new"
    refused(command("restore", target, new), listed.name, OPTION)
    check_left_out(command("restore", OPTION, target, new), new, database, {(oid, tid)})


def test_a_record_that_may_be_a_blobs(first: Path) -> None:
    """Of a compressed record, only a file tells that it belongs to a blob."""
    (series(first, 1) / "piece-000001" / "blobs.sha256").unlink()
    piece = Target(str(first)).series(1).pieces[0]
    losses = Losses(True)
    assert list(losses.listed(piece)) == []
    oid, tid = (bytes.fromhex(each) for each in key(blobs(first)[0]))
    for asked, found in ((tid, {(oid, tid)}), (p64(u64(tid) + 1), set()), (p64(1), set())):
        losses.blobs.clear()
        losses.leave_out_unlisted(oid, asked, False)
        assert losses.blobs == found


def test_an_older_series_has_the_state(command: Run, backup: Path, tmp_path: Path) -> None:
    entries = json.loads(command("backup", "--list", "--json", backup)[1])
    until = entries[0][-1]["last"]
    damage(series(backup, 2) / "piece-000001" / "manifest.json")
    refused(command("restore", backup, tmp_path / "x"), "series-000002", "--series")
    refused(command("restore", "--series", "2", "--until", until, backup, tmp_path / "x"), "is dam")
    code, printed, _ = command("restore", "--until", until, backup, tmp_path / "new")
    assert code == 0 and until in printed
    # What comes after the older series may be in the damaged one only.
    later = f"{int(entries[0][-1]['last'], 16) + 1:016x}"
    refused(command("restore", "--until", later, backup, tmp_path / "x"), "is damaged", "ends at")
    # Nobody has this one; the damaged series may have had it.
    refused(command("restore", "--until", "0" * 15 + "1", backup, tmp_path / "x"), "is damaged")
