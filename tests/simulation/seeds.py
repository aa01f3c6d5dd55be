"""Runs worlds, each in a child process, and reports the seeds that fail."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from select import select

from . import disk, sockets, threads, world
from .scheduler import Scheduler
from .workload import make_database
from .world import Result

__all__ = ["run_seeds"]

#: How long (seconds) a world may take. It has no end then.
_LONGEST = 120


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Run worlds, some at the same time; yield the results as they come."""
    disk.install()
    sockets.install()
    shared = Path("/dev/shm")
    root = Path(
        tempfile.mkdtemp(prefix="zeotwisted-simulation-", dir=shared if shared.is_dir() else None)
    )
    try:
        database = root / "Data.fs"
        # At the time of the simulation, so that all runs begin with the same bytes.
        threads.simulate(Scheduler(0))
        make_database(database)
        threads.simulate(None)
        # The children share the memory, and begin with the same one.
        gc.collect()
        gc.freeze()
        yield from _run_all(iter(seeds), jobs, root, database)
    finally:
        shutil.rmtree(root)


def _run_all(seeds: Iterator[int], jobs: int, root: Path, database: Path) -> Iterator[Result]:
    running: dict[int, tuple[int, int]] = {}
    try:
        while True:
            while len(running) < jobs and (seed := next(seeds, None)) is not None:
                process, pipe = _start(seed, root, database)
                running[pipe] = (process, seed)
            if not running:
                return
            for pipe in select(list(running), [], [])[0]:
                process, seed = running.pop(pipe)
                yield _result(process, pipe, seed)
                shutil.rmtree(root / str(seed), ignore_errors=True)
    finally:
        for process, _ in running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def _start(seed: int, root: Path, database: Path) -> tuple[int, int]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    code = 1
    try:
        signal.alarm(_LONGEST)
        gc.disable()
        folder = root / str(seed)
        folder.mkdir()
        result = world.run(seed, folder, database)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Without what Python does at its end: tasks of killed processes would go on.
        os._exit(code)


def _result(process: int, pipe: int, seed: int) -> Result:
    with os.fdopen(pipe, "rb") as file:
        data = file.read()
    status = os.waitpid(process, 0)[1]
    if data:
        result: Result = pickle.loads(data)
        return result
    nothing = Result(seed, [], "", 0, 0, 0, [])
    if os.WIFSIGNALED(status):
        return replace(nothing, problems=[f"the world has no end: signal {os.WTERMSIG(status)}"])
    return replace(nothing, problems=["the world has failed; the traceback is above"])
