"""``zeotwisted backup`` and ``restore`` with a FileStorage beside its server."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import p64, u64, z64

from zeotwisted.backup import parts, piece, source

from .conftest import Run, refused
from .databases import Database, contents


def restored(command: Run, backup: Path, folder: Path, *options: str) -> list[object]:
    """Restore a backup; return all that is in it."""
    code, printed, complaint = command("restore", backup, folder, *options)
    assert (code, complaint) == (0, ""), complaint
    assert printed.startswith("restored and compared")
    blobs = folder / "blobs"
    return contents(str(folder / "Data.fs"), str(blobs) if blobs.exists() else None)


def backed_up(command: Run, database: Database, target: Path, *options: str) -> str:
    code, printed, complaint = command("backup", *database.arguments, target, *options)
    assert (code, complaint) == (0, ""), complaint
    return printed


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part have a transaction or two."""
    monkeypatch.setattr(piece, "PART_SIZE", 2000)
    assert parts.PART_SIZE > 2000


@pytest.mark.parametrize("small", [True, False])
def test_all_revisions_are_restored(
    command: Run,
    database: Database,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,
) -> None:
    if small:
        small_parts(monkeypatch)
    assert "full backup" in backed_up(command, database, target)
    for _ in range(3):
        database.change(9)
        assert "incremental backup" in backed_up(command, database, target)
    assert "nothing is new" in backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)
    # An undo points to earlier data in both, so that even the bytes are the same.
    assert (tmp_path / "new" / "Data.fs").read_bytes() == Path(database.file).read_bytes()
    with closing(FileStorage(str(tmp_path / "new" / "Data.fs"))) as storage:
        assert storage._used_index
    assert command("backup", "--verify", target)[0] == 0


def test_a_part_of_the_blobs_that_are_in_no_older_piece_is_copied(
    command: Run, database: Database, target: Path
) -> None:
    backed_up(command, database, target)
    database.change()
    backed_up(command, database, target)
    blobs = [*(target / "series-000001" / "piece-000002").rglob("*.blob")]
    assert len(blobs) == 1


def test_people_can_restore_it_without_us(command: Run, database: Database, target: Path) -> None:
    backed_up(command, database, target)
    database.change(9)
    backed_up(command, database, target)
    pieces = sorted((target / "series-000001").iterdir())
    data = b"".join(
        gzip.decompress(file.read_bytes())
        for each in pieces
        for file in sorted(each.glob("records-*.gz"))
    )
    assert data == Path(database.file).read_bytes()


def test_any_transaction_can_be_restored(
    command: Run, database: Database, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    backed_up(command, database, target)
    database.change(5)
    backed_up(command, database, target)
    for number, tid in enumerate(database.tids()):
        found = restored(command, target, tmp_path / str(number), "--until", tid.hex())
        assert found == contents(database.file, database.blobs, tid)
        assert len([*(tmp_path / str(number)).rglob("*.blob")]) == sum(
            isinstance(each, bytes) for each in found
        )


def test_a_time_can_be_restored(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    last = database.last()
    database.change()
    after = next(tid for tid in database.tids() if tid > last)
    seconds = (TimeStamp(last).timeTime() + TimeStamp(after).timeTime()) / 2
    between = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None).isoformat()
    backed_up(command, database, target)
    for number, text in enumerate((between, between + "Z", between + "+00:00")):
        found = restored(command, target, tmp_path / str(number), "--until", text)
        assert found == contents(database.file, database.blobs, last)
    refused(
        command("restore", target, tmp_path / "x", "--until", "yesterday"), "'yesterday'", "time"
    )
    refused(command("restore", target, tmp_path / "x", "--until", "2001-01-01"), "begins at")
    assert not (tmp_path / "x").exists()


def test_an_empty_database(command: Run, target: Path, tmp_path: Path) -> None:
    database = Database(tmp_path / "empty")
    with closing(FileStorage(database.file, blob_dir=database.blobs)):
        pass
    assert "empty" in backed_up(command, database, target)
    assert "nothing is new" in backed_up(command, database, target)
    assert restored(command, target, tmp_path / "before") == []
    database.change(3)
    assert "incremental" in backed_up(command, database, target)
    found = restored(command, target, tmp_path / "after")
    assert found == contents(database.file, database.blobs)


def test_a_database_without_blobs(command: Run, target: Path, tmp_path: Path) -> None:
    database = Database(tmp_path / "plain", blobs=False)
    database.change(4)
    backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, None)
    assert not (tmp_path / "new" / "blobs").exists()


def test_deleted_objects(command: Run, database: Database, target: Path, tmp_path: Path) -> None:
    with database.opened() as opened:
        storage = opened.storage
        with opened.transaction() as connection:
            oid = connection.root()["object 1"]._p_oid
        meta = TransactionMetaData()
        storage.tpc_begin(meta)
        storage.deleteObject(oid, storage.load(oid)[1], meta)
        storage.tpc_vote(meta)
        storage.tpc_finish(meta)
    backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


# Packs.


def test_a_pack_up_to_the_last_backup_changes_nothing(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    before = contents(database.file, database.blobs)
    database.pack()
    last = database.last()
    database.change(3)
    new = contents(database.file, database.blobs)
    printed = backed_up(command, database, target)
    assert "incremental" in printed and "packed" not in printed
    found = restored(command, target, tmp_path / "new")
    assert found[: len(before)] == before
    after = [each for each in found[len(before) :] if isinstance(each, tuple)]
    assert after == [
        each
        for each in new
        if isinstance(each, tuple) and (each[0] > last if len(each) == 5 else each[1] > last)
    ]


def test_a_pack_of_new_transactions_is_said(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    first = database.last()
    _commit_only_to_one_object(database)
    tids = database.tids()
    database.pack()
    packed = database.last()
    database.change(2)
    printed = backed_up(command, database, target)
    assert "incremental" in printed and "was packed since" in printed
    found = restored(command, target, tmp_path / "new")
    states = _states(str(tmp_path / "new" / "Data.fs"), packed)
    assert states == _states(database.file, packed)
    assert found[-3:] == contents(database.file, database.blobs)[-3:]
    gone = next(tid for tid in tids if first < tid < packed and tid in database.tids())
    refused(
        command("restore", target, tmp_path / "x", "--until", gone.hex()),
        "a pack had removed",
        "later",
    )
    restored(command, target, tmp_path / "first", "--until", first.hex())
    restored(command, target, tmp_path / "packed", "--until", packed.hex())


def _commit_only_to_one_object(database: Database) -> None:
    with database.opened() as opened:
        for number in range(9):
            with opened.transaction() as connection:
                connection.root()["object 1"]["again"] = number
                connection.root()["object 2"]["again"] = number % 3
                connection.root()[f"object {number % 2 + 3}"]["again"] = number


def test_a_pack_of_all_that_is_known_makes_a_full_backup(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    database.change(20)
    database.pack()
    printed = backed_up(command, database, target)
    assert "as a whole" in printed and "full" in printed
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def _states(file: str, tid: bytes) -> list[bytes]:
    """Return the records of all objects that can be reached at a transaction."""
    found, wanted = {}, [z64]
    with closing(FileStorage(file, read_only=True)) as storage:
        while wanted:
            oid = wanted.pop()
            if oid not in found:
                found[oid] = storage.loadBefore(oid, p64(u64(tid) + 1))[0]
                wanted += referencesf(found[oid])
    return [found[oid] for oid in sorted(found)]


def test_a_backup_of_a_packed_database(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    database.pack()
    database.change(9)
    backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


# Which database it is.


def test_another_database_is_refused(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    other = Database(tmp_path / "other")
    other.change(20)
    before = sorted(map(str, target.rglob("*")))
    for options in ((), ("--full",)):
        refused(
            command("backup", *other.arguments, target, *options), str(target), "another database"
        )
    assert sorted(map(str, target.rglob("*"))) == before
    backed_up(command, database, target)


def test_a_database_that_was_put_back_is_refused(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    shutil.copytree(database.folder, tmp_path / "older")
    database.change(2)
    backed_up(command, database, target)
    database.restore_from(tmp_path / "older")
    refused(command("backup", *database.arguments, target), "does not have", "new one")
    # It has gone on since, so that its last transaction is newer.
    database.change(5)
    refused(command("backup", *database.arguments, target), "does not have", "new one")


def test_a_packed_database_is_recognised(command: Run, database: Database, target: Path) -> None:
    for _ in range(3):
        backed_up(command, database, target)
        database.change(3)
        database.pack()
        database.change(3)
        assert "incremental" in backed_up(command, database, target)


def test_a_restored_database_goes_on_with_its_backup(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    restored(command, target, tmp_path / "new")
    again = Database(tmp_path / "new")
    again._count = 50
    again.change(3)
    assert "incremental" in backed_up(command, again, target)
    assert restored(command, target, tmp_path / "newer") == contents(again.file, again.blobs)


def test_other_folders_are_refused(command: Run, database: Database, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    refused(command("backup", *database.arguments, tmp_path / "home"), "something else", "letter")
    assert os.listdir(tmp_path / "home") == ["letter"]
    refused(command("backup", *database.arguments, tmp_path / "home" / "letter" / "x"), "letter")
    refused(command("backup", "--verify", tmp_path / "nowhere"), "nowhere", "not a folder")
    refused(command("backup", "--list", tmp_path / "home"), "no complete backup")
    refused(command("restore", tmp_path / "home", tmp_path / "x"), "no complete backup")


# Series.


def test_full_backups_and_how_many_are_kept(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        backed_up(command, database, target, "--full")
        database.change(2)
        backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)
    first = restored(command, target, tmp_path / "first", "--series", "1")
    assert first == contents(database.file, database.blobs, first and _last_tid(first))
    printed = backed_up(command, database, target, "--keep", "2")
    assert "removed series-000001" in printed
    assert sorted(each.name for each in target.glob("series-*")) == [
        "series-000002",
        "series-000003",
    ]
    refused(command("restore", target, tmp_path / "x", "--series", "1"), "no series 1")
    listed = json.loads(command("backup", "--list", "--json", target)[1])
    assert [len(series) for series in listed] == [2, 2]
    assert "incremental" in command("backup", "--list", target)[1]
    assert command("backup", "--keep", "0", *database.arguments, target)[0] == 1


def _last_tid(found: list[object]) -> bytes:
    last = [each for each in found if isinstance(each, tuple) and len(each) == 5][-1]
    assert isinstance(last[0], bytes)
    return last[0]


def test_an_older_series_has_what_the_newest_has_not(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    tid = database.last()
    backed_up(command, database, target)
    wanted = contents(database.file, database.blobs)
    database.change(3)
    database.pack()
    backed_up(command, database, target, "--full")
    assert restored(command, target, tmp_path / "new", "--until", tid.hex()) == wanted


# Blobs that are not there.


def test_a_missing_blob_is_named(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    assert database.blobs is not None
    gone = next(Path(database.blobs).rglob("*.blob"))
    gone.unlink()
    refused(command("backup", *database.arguments, target), "does not have the blob", "--allow-")
    assert command("backup", "--list", target)[0] == 1
    printed = backed_up(command, database, target, "--allow-missing-blobs")
    assert "1 blobs are missing" in printed
    assert command("backup", "--verify", target)[0] == 0
    code, _, complaint = command("restore", target, tmp_path / "new")
    assert (code, complaint) == (0, "")
    assert len([*(tmp_path / "new").rglob("*.blob")]) == len(
        [*Path(database.blobs).rglob("*.blob")]
    )


# Streams.


def test_a_stream(command: Run, database: Database, tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.daemon.conftest import environment

    program = [sys.executable, "-m", "zeotwisted"]
    made = subprocess.run(
        [*program, "backup", *database.arguments, "-"], capture_output=True, env=environment()
    )
    assert made.returncode == 0 and b"full backup" in made.stderr
    stream = tmp_path / "stream.tar"
    stream.write_bytes(made.stdout)

    # A stream cannot be read again, so that data are repeated, and nothing points to them.
    def plain(found: list[object]) -> list[object]:
        return [each[:3] if isinstance(each, tuple) and len(each) == 4 else each for each in found]

    wanted = plain(contents(database.file, database.blobs))
    assert plain(restored(command, stream, tmp_path / "new")) == wanted
    piped = subprocess.run(
        [*program, "restore", "-", tmp_path / "piped"],
        input=made.stdout,
        capture_output=True,
        env=environment(),
    )
    assert piped.returncode == 0, piped.stderr
    found = contents(str(tmp_path / "piped" / "Data.fs"), str(tmp_path / "piped" / "blobs"))
    assert plain(found) == wanted
    assert command("backup", "--verify", stream)[0] == 0
    # It is the same as a folder.
    shutil.unpack_archive(stream, tmp_path / "unpacked", filter="data")
    database.change(2)
    assert "incremental" in backed_up(command, database, tmp_path / "unpacked")
    for length in (0, 10, 600, len(made.stdout) // 2, len(made.stdout) - 10300):
        stream.write_bytes(made.stdout[:length])
        code, _, complaint = command("restore", stream, tmp_path / "torn")
        assert code == 1 and complaint.count("\n") == 1, complaint
        assert not (tmp_path / "torn").exists()
    assert not [*tmp_path.glob(".unfinished*")]


def test_a_stream_does_not_leave_its_folder(command: Run, tmp_path: Path) -> None:
    import io
    import tarfile

    for name in ("../x", "/tmp/x", "series-000001/piece-000001/../../../x", "x"):
        with tarfile.open(tmp_path / "bad.tar", "w") as tar:
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        refused(
            command("restore", tmp_path / "bad.tar", tmp_path / "new"), "not a part of a backup"
        )


# Damage.


def test_a_damaged_database_is_not_backed_up_in_part(
    command: Run,
    database: Database,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever a byte of its structure is changed, it is said, or the backup is the same."""
    backed_up(command, database, tmp_path / "good")
    file = Path(database.file)
    content = file.read_bytes()
    refusals = 0
    # Nobody writes there meanwhile.
    monkeypatch.setattr(source, "_PAUSE", 0)
    for position in range(len(content) // 3, len(content), 97):
        changed = bytearray(content)
        changed[position] ^= 0x55
        file.write_bytes(changed)
        code, _, complaint = command("backup", *database.arguments, target)
        if code:
            refusals += 1
            assert complaint.count("\n") == 1 and "Traceback" not in complaint, complaint
            assert command("backup", "--list", target)[0] == 1
        else:
            listed = [
                json.loads(command("backup", "--list", "--json", each)[1])[0][0]
                for each in (target, tmp_path / "good")
            ]
            for name in ("transactions", "records"):
                assert listed[0][name] == listed[1][name], position
            shutil.rmtree(target)
    assert refusals


def test_a_flipped_bit_in_any_file_is_noticed(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    database.change(2)
    backed_up(command, database, target)
    files = [each for each in target.rglob("*") if each.is_file() and each.parent != target]
    assert len(files) > 15
    for file in files:
        content = file.read_bytes()
        for position in {0, len(content) // 2, len(content) - 1} if content else ():
            changed = bytearray(content)
            changed[position] ^= 4
            file.write_bytes(changed)
            code, _, complaint = command("backup", "--verify", target)
            assert code == 1, f"{file} at {position}"
            assert str(file).removesuffix(".sha256").removesuffix("blobs") in complaint
            if file.name != "index":
                code, _, complaint = command("restore", target, tmp_path / "new")
                assert code == 1 and complaint.count("\n") == 1, f"{file} at {position}"
                assert file.name.removesuffix(".sha256") in complaint
                assert not (tmp_path / "new").exists()
        file.unlink()
        if file.name != "index":
            refused(command("restore", target, tmp_path / "new"), file.name, "is missing")
            assert command("backup", "--verify", target)[0] == 1
        file.write_bytes(content)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def test_what_is_before_a_damaged_piece_can_be_restored(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    tid = database.last()
    wanted = contents(database.file, database.blobs)
    database.change(2)
    backed_up(command, database, target)
    last = target / "series-000001" / "piece-000002" / "manifest.json"
    last.write_bytes(last.read_bytes()[:-5])
    refused(command("restore", target, tmp_path / "x"), "piece-000002", "manifest.json")
    assert restored(command, target, tmp_path / "new", "--until", tid.hex()) == wanted
    refused(command("backup", *database.arguments, target), "piece-000002", "--full")
    last.parent.rename(tmp_path / "away")
    assert "incremental" in backed_up(command, database, target)
    assert restored(command, target, tmp_path / "newer") == contents(database.file, database.blobs)


@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_an_index_is_made_again(
    command: Run, database: Database, target: Path, tmp_path: Path, how: str
) -> None:
    backed_up(command, database, target)
    index = target / "series-000001" / "piece-000001" / "index"
    if how == "gone":
        index.unlink()
    else:
        content = bytearray(index.read_bytes())
        content[len(content) // 2] ^= 1
        index.write_bytes(content)
    database.change(5)
    backed_up(command, database, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)
    assert (tmp_path / "new" / "Data.fs").read_bytes() == Path(database.file).read_bytes()


def test_nothing_is_overwritten(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    backed_up(command, database, target)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "Data.fs").write_text("precious")
    refused(command("restore", target, tmp_path / "there"), "is there already")
    assert (tmp_path / "there" / "Data.fs").read_text() == "precious"
    refused(command("restore", target, database.file), "is there already")
    refused(command("restore", target, tmp_path / "no" / "where"), "is not a folder")
    (tmp_path / "empty").mkdir()
    restored(command, target, tmp_path / "empty")


def test_a_first_backup_that_fails_leaves_no_folder(
    command: Run, database: Database, target: Path, tmp_path: Path
) -> None:
    refused(command("backup", "--file", tmp_path / "none.fs", target), "none.fs")
    assert not target.exists()
    # A folder that was there stays, without anything in it.
    target.mkdir()
    refused(command("backup", "--file", tmp_path / "none.fs", target), "none.fs")
    assert target.is_dir() and not os.listdir(target)
    backed_up(command, database, target)
    before = sorted(target.rglob("*"))
    refused(command("backup", "--file", tmp_path / "none.fs", target), "none.fs")
    assert sorted(target.rglob("*")) == before


def test_two_backups_at_a_time(command: Run, database: Database, target: Path) -> None:
    import zc.lockfile

    backed_up(command, database, target)
    lock = zc.lockfile.LockFile(str(target / ".lock"))
    try:
        refused(command("backup", *database.arguments, target), "another backup is being made")
    finally:
        lock.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "target"),
        ("backup", "localhost", "target"),
        ("backup", "1", "2", "3"),
        ("backup", "--blobs", "x", "1", "target"),
        ("backup", "--file", "nowhere.fs", "target"),
        ("backup", "--file", "setup.cfg", "target"),
        ("backup", "--timeout", "0", "1", "target"),
        ("backup", "--json", "1", "target"),
        ("backup", "--key", "x", "1", "target"),
        ("backup", "--password-file", "x", "1", "target"),
        ("backup", "--keep", "x", "1", "target"),
    ],
)
def test_mistakes_are_one_line(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.cfg").write_text("[metadata]\n" * 10)
    refused(command(*arguments))
