"""Damage a cache file at random places, and compare what is served with what was true.

``python -m tests.clientstorage.cache.damagecache 2000`` does so 2000 times.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from ZODB.utils import p64

from zeotwisted.clientstorage.cache.file import FileCache

_SIZE = 64 * 1024

#: For each object its revisions: start, end and data.
History = dict[bytes, list[tuple[bytes, bytes | None, bytes]]]


def fill(path: Path, chance: random.Random) -> History:
    """Make a cache file whose logs have begun anew several times; return what the server has."""
    cache = FileCache(str(path), _SIZE)
    history: History = {}
    for number in range(1, chance.randrange(50, 400)):
        tid = p64(number)
        for oid in map(p64, chance.sample(range(40), 3)):
            data = b"%d" % chance.randrange(10**9) * chance.randrange(300)
            revisions = history.setdefault(oid, [])
            if revisions:
                start, _end, before = revisions[-1]
                revisions[-1] = start, tid, before
            revisions.append((tid, None, data))
            cache.invalidate(oid, tid)
            cache.store(oid, tid, None, data)
        cache.setLastTid(tid)
        for oid in map(p64, chance.sample(range(40), 10)):
            cache.load(oid)
    cache.close()
    return history


def damage(content: bytearray, chance: random.Random) -> None:
    """Change bits, overwrite a part, or cut off the end."""
    kind = chance.randrange(4)
    # Where opening and finding look at is hit as often as the rest.
    place = chance.randrange(2048 if chance.random() < 0.3 else len(content))
    if kind == 0:
        del content[place:]
    elif kind == 1:
        length = min(chance.choice([1, 8, 512, 4096]), len(content) - place)
        content[place : place + length] = bytes(length)
    else:
        for _ in range(chance.choice([1, 1, 20])):
            content[(place + chance.randrange(500)) % len(content)] ^= 1 << chance.randrange(8)


def check(path: Path, history: History) -> tuple[int, bool]:
    """Return how many records are served, and whether the file was set aside instead."""
    cache = FileCache(str(path), _SIZE)
    cache.wait_until_indexed()
    last_tid = cache.getLastTid()
    count = 0
    for oid, start, end, data in cache.revisions():
        (true_end,) = (known[1] for known in history[oid] if known[::2] == (start, data))
        assert end == true_end or (end is None and true_end is not None and true_end > last_tid)
        count += 1
    for oid in history:
        found = cache.load(oid)
        if found is not None:
            ends = [end for start, end, data in history[oid] if (data, start) == found]
            assert len(ends) == 1 and (ends[0] is None or ends[0] > last_tid)
    cache.close()
    return count, Path(f"{path}.bak1").exists()


def damage_caches(times: int, seed: int = 0) -> tuple[int, int]:
    """Return how many records were compared, and how many files were set aside."""
    chance = random.Random(seed)
    records = aside = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(times):
            path = Path(folder, f"cache{number}")
            if number % 20 == 0:
                history = fill(path, chance)
                whole = path.read_bytes()
            content = bytearray(whole)
            damage(content, chance)
            path.write_bytes(content)
            if content[:24] == whole[:24] or not content[:24].strip(b"\0"):
                found, was_set_aside = check(path, history)
                records += found
                aside += was_set_aside
            for left in Path(folder).iterdir():
                left.unlink()
    return records, aside


if __name__ == "__main__":
    compared, files = damage_caches(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)
    print(f"{compared} records compared, {files} files set aside")
