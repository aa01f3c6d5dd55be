"""Breaks each rule in a copy of the source, and runs what has to notice it.

Run ``python -m tests.scaleout.mutants [NUMBER...]`` in the root of the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .cluster import ROOT

#: How long (seconds) a program may take. A reader that waits for ever has noticed, too.
_TIMEOUT = 150


class Mutant(NamedTuple):
    """One way to break a rule, and the arguments of Python for what has to fail."""

    rule: str
    file: str
    original: str
    broken: str
    program: str


RACE = "-m tests.scaleout.race --transactions 250"
FAULTS = "-m pytest -q -x tests/scaleout/test_faults.py -k "
RULES = "-m pytest -q -x tests/scaleout/test_rules.py -k "

MUTANTS = [
    Mutant(
        "readers see all that was told",
        "engine/instances.py",
        "instance.seen is None or instance.seen < published",
        "instance.seen is None",
        RACE + " --not-installed",
    ),
    Mutant(
        "news are in the order of the database",
        "engine/notified.py",
        "[self._batch(change) for change in changes]",
        "[self._batch(change) for change in reversed(changes)]",
        RACE,
    ),
    Mutant(
        "a commit is told by itself only if it follows what was told",
        "engine/notified.py",
        "if mark and previous == self._last else",
        "if mark else",
        RULES + "not_notified",
    ),
    Mutant(
        "own commits are answered when they are published",
        "commit/storagetransaction.py",
        "                self._served.engine.finish(storage, self._metadata, own)\n",
        "                self._served.engine.finish(storage, self._metadata, own)\n"
        "                tid, told = storage.lastTransaction(), own.published\n"
        "                tell = self._served.call_from_thread\n"
        "                tell(lambda: told.called or told.callback(tid))\n",
        RACE,
    ),
    Mutant(
        "a new client misses nothing that was committed before",
        "connections/registration.py",
        "    up_to_date = served.up_to_date()\n",
        "    up_to_date: Any = __import__('twisted.internet.defer').internet.defer.succeed(None)\n",
        RULES + "registers",
    ),
    Mutant(
        "the mark is there before the client is told of it",
        "engine/postgresql.py",
        "        postgresql.mark_transaction(storage, mark)\n",
        "",
        "-m tests.scaleout.counter --fault break --faults 40",
    ),
    Mutant(
        "an outcome waits for the end of the transaction",
        "../postgresql/marks.py",
        "            _wait_for_end(connection, number, patience)\n",
        "",
        RULES + "not_ended",
    ),
    Mutant(
        "an outcome is told after the news before it",
        "connections/transactions.py",
        "        await client.served.up_to_date()\n",
        "        pass\n",
        RULES + "outcome_follows",
    ),
    Mutant(
        "clients verify when track is lost",
        "engine/newsreader.py",
        "            self._news.lost_track()\n",
        "",
        FAULTS + "lost_is_not_seen",
    ),
    Mutant(
        "a transaction that was lost is not taken for a known one",
        "engine/postgresql.py",
        "            return postgresql.has_tid(connection, self._source.database, tid)\n",
        "            return True\n",
        FAULTS + "lost_is_not_seen",
    ),
    Mutant(
        "a daemon without answers says so",
        "engine/newsreader.py",
        "                if not self._is_cut_off:\n",
        "                if False:\n",
        FAULTS + "cut_off",
    ),
]


def notices(mutant: Mutant, directory: Path) -> bool:
    """Return whether the program fails."""
    shutil.copytree(ROOT / "zeotwisted", directory / "zeotwisted")
    path = directory / "zeotwisted" / "storageserver" / mutant.file
    text = path.read_text()
    assert text.count(mutant.original) == 1, mutant.rule
    path.write_text(text.replace(mutant.original, mutant.broken))
    # Programs run with the copy, too: some of them have the server in their own process.
    python = os.pathsep.join([str(directory), str(ROOT)])
    variables = os.environ | {"ZEOTWISTED_SOURCE": str(directory), "PYTHONPATH": python}
    try:
        done = subprocess.run(
            [sys.executable, *mutant.program.split()],
            cwd=ROOT,
            env=variables,
            timeout=_TIMEOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main() -> int:
    missed = 0
    for number, mutant in enumerate(MUTANTS):
        if sys.argv[1:] and str(number) not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as directory:
            noticed = notices(mutant, Path(directory))
        missed += not noticed
        said = "noticed" if noticed else "MISSED"
        print(f"{number} {said}: {mutant.rule} ({mutant.program})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
